import ApusChaos
import AsyncHTTPClient
import Foundation
import Testing

@Suite("A real server process for tests", .timeLimit(.minutes(2)))
struct ServerProcessTests {
    private func isHealthy(_ endpoints: ServerProcess.Endpoints) async -> Bool {
        let request = HTTPClientRequest(url: "http://\(endpoints.http)/healthz")
        return (try? await HTTPClient.shared.execute(request, timeout: .seconds(5)))?.status == .ok
    }

    @Test("starts, is killed, starts again on the same ports and data, ends with 0 after SIGTERM, and leaves nothing behind")
    func lives() async throws {
        let (data, log) = try await ServerProcess.with(try .init(arguments: ["--drain-seconds", "0"])) { server, endpoints in
            #expect(await isHealthy(endpoints))
            let first = await server.processID
            await server.kill()
            #expect(await !isHealthy(endpoints))
            #expect(await server.processID == nil)

            #expect(try await server.start() == endpoints)
            #expect(await isHealthy(endpoints))
            #expect(await server.processID != first)
            try await server.terminate()
            #expect(await server.processID == nil)
            return (server.data, server.log)
        }
        #expect(!FileManager.default.fileExists(atPath: data.path))
        #expect(!log.text.isEmpty)
    }

    @Test("is gone after its test, also when the test fails or is cancelled")
    func isKilled() async throws {
        struct Failure: Error {}
        let id = Mailbox<Int32?>()
        await #expect(throws: Failure.self) {
            try await ServerProcess.with(try .init()) { server, _ in
                await id.put(await server.processID)
                throw Failure()
            }
        }
        #expect(kill(try #require(await id.value), 0) == -1)

        let started = Mailbox<Int32?>()
        let test = Task {
            try await ServerProcess.with(try .init()) { server, _ in
                await started.put(await server.processID)
                try await Task.sleep(for: .seconds(100))
            }
        }
        let other = try #require(await started.value)
        test.cancel()
        await #expect(throws: CancellationError.self) { try await test.value }
        #expect(kill(other, 0) == -1)
    }

    @Test("says why it did not start")
    func doesNotStart() async throws {
        let options = try ServerProcess.Options(arguments: ["--no-such-setting", "1"])
        let error = await #expect(throws: ServerProcessError.self) { try await ServerProcess.with(options) { _, _ in } }
        #expect(error?.description.contains("no-such-setting") == true)
    }
}

/// One value from one task to another.
private actor Mailbox<Value: Sendable> {
    private var stored: Value?
    private var waiters: [CheckedContinuation<Value, Never>] = []

    func put(_ value: Value) {
        stored = value
        for waiter in waiters { waiter.resume(returning: value) }
        waiters = []
    }

    var value: Value {
        get async {
            if let stored { return stored }
            return await withCheckedContinuation { waiters.append($0) }
        }
    }
}
