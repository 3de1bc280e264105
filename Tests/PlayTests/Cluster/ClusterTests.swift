import ApusChaos
import Foundation
import Testing

@Suite("A cluster of separate processes on real servers", .serialized, .timeLimit(.minutes(10)))
struct ClusterTests {
    /// By the command, which can have a network namespace of its own.
    @Test("Nothing acknowledged is lost, doubled or re-ordered while nodes and servers are killed, paused and cut off; longer: apus chaos")
    func chaos() async throws {
        let arguments = [
            "chaos", "--faults", "8", "--messages", "2000", "--writers", "3", "--readers", "2", "--pause-seconds-max", "3",
            "--down-seconds-max", "1", "--seed", "3", "--json", "--time-limit-seconds", "400",
        ]
        let result = try await Command.run(try ApusBinary.locate(), arguments, timeout: .seconds(450))
        let report = try #require(
            try? JSONDecoder().decode(ContractTestReport.self, from: Data(result.output.utf8)), "\(result.exit)\n\(result.errors)")
        #expect(report.violations == [], "\(report.violations.prefix(5).joined(separator: "\n"))\n\(result.errors)")
        #expect(result.exit == .code(0))
        #expect(report.acknowledged >= 2000)
        #expect(report.faultCount == 8)
        // Without root or the tools this machine cannot cut nodes off; then the report says why, and the other faults are what is shown.
        #expect(report.leftOut["cuts of the network"] == NetworkNamespace.obstacle)
        if NetworkNamespace.obstacle == nil { #expect(report.faults.keys.contains { $0.hasPrefix("cut off") }) }
    }

    @Test("Nobody sees a failed send or a failed call, nor waits five seconds for a message, while every node is restarted")
    func rollingRestart() async throws {
        let options = ContractTest.Options(messagesPerSecond: 200, writers: 3, readers: 3, seed: 4, timeLimit: .seconds(300))
        let roles = ["gateway", "auth", "user", "web", "socket"]
        let cluster = try LocalCluster.Options(
            nodes: Dictionary(uniqueKeysWithValues: roles.map { ($0, 2) }), settings: RollingRestart.settings)
        let report = try await RollingRestart.run(rounds: 1, options, cluster: cluster)
        #expect(report.violations == [], "\(report)")
        #expect(report.faultCount == 10)
        #expect(report.delivery.disturbed.count > 0)
        #expect(report.reconnects > options.writers * 2 + options.readers + 1, "nobody was sent to another socket node")
    }
}
