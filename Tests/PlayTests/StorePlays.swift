import ApusChaos
import ApusProtocol
import Foundation
import Testing

extension Plays {
    /// On one process only: they are about the files and listeners of a process. What a cluster does without its MySQL is in the tests of its
    /// store and in the chaos run.
    @Suite("Plays: the store", .serialized, .timeLimit(.minutes(2)))
    struct StorePlays {
        private func temporaryDirectory() throws -> URL {
            let directory = FileManager.default.temporaryDirectory.appending(path: "apus-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            return directory
        }

        /// Starts a server that must not start, and returns what it said and its exit code.
        private func refusedStart(
            _ arguments: [String], replacing listener: String? = nil, with address: String = ""
        ) throws -> (code: Int32, message: String) {
            let process = Process()
            process.executableURL = try ApusBinary.locate()
            let listeners: [String] = ["http", "socket", "tcp"].flatMap { (name: String) -> [String] in
                ["--\(name)", name == listener ? address : "127.0.0.1:0"]
            }
            process.arguments = ["serve"] + listeners + arguments
            process.environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("APUS_") }
            let errors = Pipe()
            process.standardError = errors
            process.standardOutput = FileHandle.nullDevice
            try process.run()
            // A server that starts after all would run for ever; it ends with this deadline and another exit code.
            let deadline = Task {
                try await Task.sleep(for: .seconds(30))
                process.terminate()
            }
            let message = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            deadline.cancel()
            return (process.terminationStatus, message)
        }

        @Test("A damaged database stops the start with 74 and what to do, and is left as it is")
        func corruptDatabase() async throws {
            let directory = try temporaryDirectory()
            defer { try? FileManager.default.removeItem(at: directory) }
            let file = directory.appending(path: "apus.sqlite")
            let damage = Data(repeating: 0x42, count: 20_000)
            try damage.write(to: file)
            let (code, message) = try refusedStart(["--data", directory.path])
            #expect(code == 74)
            #expect(message.contains(file.path) && message.contains("damaged") && message.contains("backup"))
            #expect(try Data(contentsOf: file) == damage)
        }

        @Test("A second server on the same data stops with 74 and leaves the first one alone")
        func directoryInUse() async throws {
            try await Play.single { play, server in
                let (_, _, alice) = try await play.connect("alice")
                let (code, message) = try refusedStart(["--data", server.data.path])
                #expect(code == 74)
                #expect(message.contains("another Apus server"))
                #expect(try await alice.isAlive())
            }
        }

        @Test("A port that is taken stops the start with 69 and the address", arguments: ["http", "socket", "tcp"])
        func portInUse(listener: String) async throws {
            let directory = try temporaryDirectory()
            defer { try? FileManager.default.removeItem(at: directory) }
            try await Play.single { play, _ in
                let taken = play.http
                let (code, message) = try refusedStart(["--data", directory.path], replacing: listener, with: taken)
                #expect(code == 69)
                #expect(message.contains(taken))
            }
        }

        @Test(
            "On a full disk sends are refused as retryable, nothing acknowledged is lost, and room makes them work again",
            .enabled(if: SmallDisk.isPossible, "a file system of its own needs Linux and the right to mount one"))
        func fullDisk() async throws {
            let confined = try SmallDisk(megabytes: 24)
            defer { confined.remove() }
            try await Play.single(binary: confined.binary) { play, server in
                let (_, aliceDevice, alice) = try await play.connect("alice")
                let (bobPerson, _, bob) = try await play.connect("bob")
                let room = try await aliceDevice.direct(with: bobPerson)
                try await alice.say("before", in: room, clientID: "before")

                let ballast = try await confined.fill(server)
                let body = String(repeating: "x", count: 32_000)
                var acknowledged = 0
                var refusal: WireError?
                // What was reserved beforehand is used up first; each message is as large as may be.
                for number in 0..<2_000 where refusal == nil {
                    try await alice.send(SendFrame(ref: 3, conversation: room, clientID: "full-\(number)", body: body))
                    switch try await alice.next() {
                    case .frame(.ack): acknowledged += 1
                    case .frame(.other(let frame)):
                        if case .error(let error) = frame.body { refusal = error }
                    default: Issue.record("neither acknowledged nor refused")
                    }
                }
                let error = try #require(refusal, "the disk never was full")
                #expect(error.code == ErrorCode.storeUnavailable.rawValue && error.retryable)

                try FileManager.default.removeItem(at: ballast)
                // A later message may not overtake the refused one, though there is room now.
                let overtaking = await #expect(throws: ApusError.self) { try await alice.say("after", in: room, clientID: "after") }
                #expect(overtaking?.code.isRetryable == true)
                let refused = error.clientID
                try await retrying { try await alice.say(body, in: room, clientID: refused) }
                let last = try await alice.say("after", in: room, clientID: "after")
                #expect(last.seq == Seq(acknowledged) + 3)
                var heard: [Entry] = []
                while heard.last?.body != "after" { heard.append(try await bob.nextEntry()) }
                #expect(heard.map(\.seq) == Array(1...last.seq))
                let log = try await aliceDevice.history(of: room)
                #expect(log.map(\.seq) == Array(1...last.seq))
            }
        }

        /// Again and again while the server says that it may work later; the time limit of the test ends it.
        @discardableResult
        private func retrying(_ send: () async throws -> AckFrame) async throws -> AckFrame {
            while true {
                do {
                    return try await send()
                } catch let error as ApusError where error.code.isRetryable {
                    try await Task.sleep(for: .milliseconds(100))
                }
            }
        }
    }
}
