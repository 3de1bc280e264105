/// Runs jobs one after the other beside whoever hands them in, in that order. Bounded: handing in waits while too many wait.
actor SideLane {
    typealias Job = @Sendable () async -> Void

    private let waitingMax: Int
    private let jobs: AsyncStream<Job>
    private let entrance: AsyncStream<Job>.Continuation
    /// Jobs that wait or run.
    private var left = 0
    private var isOver = false
    /// Those who wait until so few are left.
    private var waiters: [(left: Int, continuation: CheckedContinuation<Void, Never>)] = []

    /// - Parameter waitingMax: jobs that may wait or run.
    init(waitingMax: Int) {
        self.waitingMax = waitingMax
        // What is in the stream is counted, and handing in waits for a place.
        (jobs, entrance) = AsyncStream.makeStream()
    }

    /// Runs jobs until its task is cancelled; then it lets go of everybody who waits, and what was not begun is not done.
    func run() async {
        for await job in jobs {
            await job()
            left -= 1
            release()
        }
        isOver = true
        release()
    }

    /// Waits for a place first.
    func add(_ job: @escaping Job) async {
        await untilLeft(waitingMax - 1)
        guard !isOver else { return }
        left += 1
        entrance.yield(job)
    }

    /// Waits until everything that was handed in is done.
    func finish() async { await untilLeft(0) }

    private func untilLeft(_ count: Int) async {
        while left > count, !isOver {
            await withCheckedContinuation { waiters.append((count, $0)) }
        }
    }

    private func release() {
        let waiting = waiters
        waiters = waiting.filter { left > $0.left && !isOver }
        for waiter in waiting where left <= waiter.left || isOver { waiter.continuation.resume() }
    }
}
