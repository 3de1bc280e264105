import Foundation

/// The contract test of a single server, which is killed again and again, now and then while it is still starting.
public enum KillTest {
    /// - Throws: as a contract test does.
    public static func run(
        _ options: ContractTest.Options, server: ServerProcess.Options, progress: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> ContractTestReport {
        try await ServerProcess.with(server) { server, endpoints in
            let report = try await ContractTest.run(
                options, against: Kills(process: server, server: try endpoints.httpURL), progress: progress)
            try await server.terminate()
            return report
        }
    }

    private struct Kills: Disturbance {
        let process: ServerProcess
        let server: URL

        func strike(_ number: Int, using random: inout SeededGenerator) async throws -> Fault {
            let isCutOff = Int.random(in: 0..<4, using: &random) == 0
            let afterStart = Duration.milliseconds(Int.random(in: 0...400, using: &random))
            await process.kill()
            if isCutOff { try await killWhileStarting(after: afterStart) }
            let began = ContinuousClock.now
            try await process.start()
            return Fault(kind: isCutOff ? "kill -9, and again while it starts" : "kill -9", recovery: .now - began)
        }

        /// A start that is cut off in the middle of recovering what the kill before left.
        private func killWhileStarting(after delay: Duration) async throws {
            async let start = Result { try await process.start() }
            try await Task.sleep(for: delay)
            await process.kill()
            // Whether it was ready before the kill does not matter.
            _ = await start
            await process.kill()
        }

        func restart() async throws {
            await process.kill()
            try await process.start()
        }

        func logTail() async -> String { process.log.tail(lines: 40) }
    }
}
