import ApusClient
import ApusProtocol
import Testing

@testable import apus

@Suite struct SendPipelineTests {
    @Test("A call to a server that is away is made again until it answers")
    func retries() async throws {
        var calls = 0
        let value = try await SendPipeline(patience: .seconds(30)).retryingWhileUnreachable {
            calls += 1
            if calls < 3 { throw ApusError(.unreachable, "away") }
            return "here"
        }
        #expect(value == "here")
        #expect(calls == 3)
    }

    @Test("A refusal is not tried again")
    func refusal() async {
        var calls = 0
        await #expect(throws: ApusError.self) {
            try await SendPipeline(patience: .seconds(30)).retryingWhileUnreachable {
                calls += 1
                throw ApusError(.notFound, "nobody")
            }
        }
        #expect(calls == 1)
    }

    @Test("What feeds the pipeline may fail; the failure comes out and nothing waits for ever")
    func feedFails() async {
        await #expect(throws: CommandFailure.self) {
            _ = try await SendPipeline(patience: .seconds(30)).run { _ in throw CommandFailure(.local, "no input") }
        }
    }

    @Test("Lines that could not be sent are counted")
    func faults() async throws {
        let faults = try await SendPipeline(patience: .seconds(30)).run { sink in
            await sink.fault("line 1 is not UTF-8")
            await sink.fault("line 7 is not UTF-8")
        }
        #expect(faults == 2)
    }
}
