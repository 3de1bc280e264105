import ApusProtocol
import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import ApusServer

/// The Autobahn suite is a Python 2.7 program; `make test` installs it into `.tools/autobahn` where it finds a Python 2.7.
private let wstest = URL(filePath: #filePath)
    .deletingLastPathComponent().appending(path: "../../../.tools/autobahn/bin/wstest").standardizedFileURL

@Suite("Autobahn, the test suite for WebSocket implementations")
struct AutobahnTests {
    private struct Verdict: Decodable {
        var behavior: String
        var behaviorClose: String
    }

    @Test(
        "the listener's carrier passes all cases of 1-7, 9 and 10",
        .enabled(if: FileManager.default.isExecutableFile(atPath: wstest.path), "wstest needs Python 2.7, which is not here"),
        .timeLimit(.minutes(10)))
    func fuzzingClient() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-autobahn-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }

        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: LeanReceiveAllocator())
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let policy = WebSocketHandshake.Policy(path: HTTPPath.webSocket, subprotocols: [])
                    let handler = CarrierHandler(start: .webSocket(policy), messageBytesMax: 1 << 25, sink: EchoSink())
                    handler.acceptsAnyOpcode = true
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        try await run(port: port, in: directory)
        try await listener.close()

        let report = try Data(contentsOf: directory.appending(path: "report/index.json"))
        let verdicts = try #require(try JSONDecoder().decode([String: [String: Verdict]].self, from: report)["apus"])
        #expect(verdicts.count > 240)
        for (name, verdict) in verdicts {
            #expect(["OK", "NON-STRICT", "INFORMATIONAL"].contains(verdict.behavior), "case \(name)")
            #expect(["OK", "INFORMATIONAL"].contains(verdict.behaviorClose), "close of case \(name)")
        }
    }

    private func run(port: Int, in directory: URL) async throws {
        let specification: [String: Any] = [
            "outdir": directory.appending(path: "report").path,
            "servers": [["agent": "apus", "url": "ws://127.0.0.1:\(port)\(HTTPPath.webSocket)"]],
            "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"], "exclude-cases": [], "exclude-agent-cases": [:],
        ]
        let file = directory.appending(path: "specification.json")
        try JSONSerialization.data(withJSONObject: specification).write(to: file)
        let process = Process()
        process.executableURL = wstest
        process.arguments = ["-m", "fuzzingclient", "-s", file.path]
        process.currentDirectoryURL = directory
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        let status: Int32 = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        try #require(status == 0)
    }
}
