import ApusChaos
import Testing

@Suite("A cluster of separate processes on real servers", .serialized, .timeLimit(.minutes(10)))
struct ClusterTests {
    @Test("Nothing acknowledged is lost, doubled or re-ordered while nodes and servers are killed and paused; longer: apus chaos")
    func chaos() async throws {
        let options = ContractTest.Options(faults: 6, messages: 1_000, writers: 3, readers: 2, seed: 3, timeLimit: .seconds(400))
        let report = try await ClusterChaos.run(options, cluster: try .init(settings: LocalCluster.Options.forTests))
        #expect(report.violations == [])
        #expect(report.acknowledged >= options.messages)
        #expect(report.faultCount == options.faults)
    }
}
