import ApusChaos
import Testing

@Suite("Kill test", .timeLimit(.minutes(5)))
struct KillTests {
    @Test("nothing acknowledged is lost, doubled or re-ordered when the server is killed again and again; longer: apus kill-test")
    func short() async throws {
        let options = ContractTest.Options(faults: 4, messages: 1_000, writers: 3, readers: 2, seed: 1, timeLimit: .seconds(240))
        let report = try await KillTest.run(options, server: try .init(arguments: ["--drain-seconds", "0"]))
        #expect(report.violations == [])
        #expect(report.acknowledged >= options.messages)
        #expect(report.faultCount == options.faults)
    }
}
