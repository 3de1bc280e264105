import ApusClient
import ApusProtocol

/// Messages on their way: handed in in order, acknowledged in order, a bounded number between the two.
struct SendPipeline: Sendable {
    /// Messages that may wait for their acknowledgement. The SDK keeps fewer on the wire; more here would only fill its outbox.
    private static let waitingMax = 512

    /// How long to go without any progress.
    let patience: Duration

    /// Runs `feed` and prints an acknowledgement line for each message that it adds, in its order. Returns how many were not sent.
    func run(_ feed: @escaping @Sendable (Sink) async throws -> Void) async throws -> Int {
        let sink = Sink(waitingMax: Self.waitingMax)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    try await feed(sink)
                    await sink.finish()
                } catch {
                    await sink.finish()
                    throw error
                }
            }
            group.addTask {
                do {
                    try await printAcknowledgements(sink)
                } catch {
                    await sink.abandon()
                    throw error
                }
            }
            // Whichever fails first says why; the other one then ends too.
            while try await group.next() != nil {}
            return await sink.faults
        }
    }

    private func printAcknowledgements(_ sink: Sink) async throws {
        var leftOver = 0
        defer { if leftOver > 0 { Output.note("apus: sent first what an earlier run had left in the outbox: \(leftOver)") } }
        while let (pending, isLeftOver) = await sink.next() {
            do {
                let ack = try await withTimeout(patience) { try await pending.acknowledgement() }
                leftOver += isLeftOver ? 1 : 0
                if !isLeftOver { Output.line(JSONLine.ack(ack)) }
            } catch let error as ApusError where CommandExit(error.code) == .refused {
                await sink.fault("refused: \(error.message)")
            }
            await sink.answered()
        }
    }

    /// Asks the server again while it is away, as long as patience lasts.
    func retryingWhileUnreachable<Value: Sendable>(_ call: () async throws -> Value) async throws -> Value {
        let deadline = ContinuousClock.now + patience
        while true {
            do {
                return try await call()
            } catch let error as ApusError where Self.isAway(error.code) && ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(300))
            }
        }
    }

    private static func isAway(_ code: ErrorCode) -> Bool { code == .unreachable || code == .timedOut || code.isRetryable }

    private func withTimeout<Value: Sendable>(
        _ patience: Duration, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await body() }
            group.addTask {
                try await Task.sleep(for: patience)
                throw CommandFailure(.later, "no answer for \(patience.seconds) s; what was not acknowledged waits in the outbox")
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { throw CancellationError() }
            return first
        }
    }

    /// Between the one who hands messages in and the one who waits for their acknowledgements.
    actor Sink {
        private let waitingMax: Int
        private var queue: [(PendingSend, Bool)] = []
        private var waiting = 0
        private var isFinished = false
        private var isAbandoned = false
        private(set) var faults = 0
        private var room: CheckedContinuation<Void, Never>?
        private var arrival: CheckedContinuation<Void, Never>?

        init(waitingMax: Int) { self.waitingMax = waitingMax }

        /// Returns when another message may be handed in. For one caller at a time.
        /// - Throws: `CancellationError` when nobody waits for acknowledgements any more.
        func waitForRoom() async throws {
            while waiting >= waitingMax, !isAbandoned {
                await withCheckedContinuation { room = $0 }
            }
            if isAbandoned { throw CancellationError() }
        }

        func abandon() {
            isAbandoned = true
            room?.resume()
            room = nil
        }

        func add(_ pending: PendingSend, isLeftOver: Bool) {
            queue.append((pending, isLeftOver))
            waiting += 1
            wakeReader()
        }

        func fault(_ reason: String) {
            faults += 1
            Output.note("apus: \(reason)")
        }

        func finish() {
            isFinished = true
            wakeReader()
        }

        /// The next message in order; nil when there will be no more. For one caller at a time.
        func next() async -> (PendingSend, Bool)? {
            while queue.isEmpty, !isFinished {
                await withCheckedContinuation { arrival = $0 }
            }
            return queue.isEmpty ? nil : queue.removeFirst()
        }

        func answered() {
            waiting -= 1
            room?.resume()
            room = nil
        }

        private func wakeReader() {
            arrival?.resume()
            arrival = nil
        }
    }
}
