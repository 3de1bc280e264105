import ApusProtocol
import Testing

@testable import ApusCore

@Suite("Balancing: circuit breaker")
struct CircuitBreakerTests {
    private let start = ContinuousClock.now
    private static let configuration = CircuitBreaker.Configuration(
        errorRate: 0.5, volumeMin: 4, window: .seconds(10), pause: .seconds(3), probesMax: 1)

    private func at(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }

    private func call(_ breaker: inout CircuitBreaker, _ outcome: CircuitBreaker.Outcome, at seconds: Double) throws {
        breaker.ended(try permit(&breaker, at: seconds), outcome, at: at(seconds))
    }

    private func permit(_ breaker: inout CircuitBreaker, at seconds: Double) throws -> CircuitBreaker.Permit {
        let permit = breaker.permit(at: at(seconds))
        return try #require(permit)
    }

    private func opened(at seconds: Double = 0) throws -> CircuitBreaker {
        var breaker = CircuitBreaker(Self.configuration)
        for _ in 0..<4 { try call(&breaker, .failure, at: seconds) }
        #expect(breaker.phase(at: at(seconds)) == .open)
        return breaker
    }

    @Test("It stays closed while there are few calls, and opens when enough of enough calls failed")
    func opening() throws {
        var breaker = CircuitBreaker(Self.configuration)
        for outcome in [CircuitBreaker.Outcome.failure, .failure, .success] { try call(&breaker, outcome, at: 0) }
        #expect(breaker.phase(at: at(0)) == .closed)
        try call(&breaker, .success, at: 1)
        // Two of four.
        #expect(breaker.phase(at: at(1)) == .open)
        #expect(!breaker.admits(at: at(1)))
    }

    @Test("It stays closed while more than enough calls succeed")
    func tolerance() throws {
        var breaker = CircuitBreaker(Self.configuration)
        for round in 0..<100 {
            for outcome in [CircuitBreaker.Outcome.success, .success, .failure] { try call(&breaker, outcome, at: Double(round) / 10) }
        }
        #expect(breaker.phase(at: at(10)) == .closed)
    }

    @Test("What is older than the window is forgotten")
    func window() throws {
        var breaker = CircuitBreaker(Self.configuration)
        for _ in 0..<3 { try call(&breaker, .failure, at: 0) }
        try call(&breaker, .failure, at: 10)
        #expect(breaker.phase(at: at(10)) == .closed)
        for _ in 0..<3 { try call(&breaker, .failure, at: 11) }
        #expect(breaker.phase(at: at(11)) == .open)
    }

    @Test("What was given up says nothing about the node")
    func abandoned() throws {
        var breaker = CircuitBreaker(Self.configuration)
        for _ in 0..<100 { try call(&breaker, .abandoned, at: 0) }
        #expect(breaker.phase(at: at(0)) == .closed)
    }

    @Test("After the pause one call goes through; its success closes, its failure opens again")
    func probing() throws {
        for (outcome, phase) in [(CircuitBreaker.Outcome.success, CircuitBreaker.Phase.closed), (.failure, .open)] {
            var breaker = try opened()
            #expect(!breaker.admits(at: at(2.9)))
            let probe = try permit(&breaker, at: 3)
            #expect(!breaker.admits(at: at(3)), "one at a time")
            breaker.ended(probe, outcome, at: at(4))
            #expect(breaker.phase(at: at(4)) == phase)
            #expect(breaker.admits(at: at(6.9)) == (phase == .closed))
            #expect(breaker.admits(at: at(7)))
        }
    }

    @Test("A probe that is given up leaves room for the next one")
    func abandonedProbe() throws {
        var breaker = try opened()
        try call(&breaker, .abandoned, at: 3)
        #expect(breaker.phase(at: at(3)) == .halfOpen)
        try call(&breaker, .success, at: 3)
        #expect(breaker.phase(at: at(3)) == .closed)
    }

    @Test("A call from before the breaker opened decides nothing about recovery")
    func lateResult() throws {
        var breaker = CircuitBreaker(Self.configuration)
        let early = try permit(&breaker, at: 0)
        for _ in 0..<4 { try call(&breaker, .failure, at: 0) }
        let probe = try permit(&breaker, at: 3)
        breaker.ended(early, .success, at: at(3))
        #expect(breaker.phase(at: at(3)) == .halfOpen)
        breaker.ended(probe, .success, at: at(3))
        #expect(breaker.phase(at: at(3)) == .closed)
    }
}

@Suite("Balancing: retry budget")
struct RetryBudgetTests {
    @Test("Retries are bounded by what calls earn, and by what can be saved up")
    func bounds() {
        var budget = RetryBudget(ratio: 0.25, max: 3)
        func retries() -> Int { (0..<100).count { _ in budget.takeRetry() } }
        #expect(retries() == 3)
        for _ in 0..<8 { budget.noteCall() }
        #expect(retries() == 2)
        for _ in 0..<1000 { budget.noteCall() }
        #expect(retries() == 3)
    }
}
