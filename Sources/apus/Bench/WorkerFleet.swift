import Foundation
import NIOCore

/// The worker processes of a run, seen from the coordinator.
struct WorkerFleet: Sendable {
    private let workers: [WorkerProcess]

    /// Starts one process per plan and opens all sessions.
    static func open(_ plans: [WorkerPlan], progress: ProgressLine) async throws -> WorkerFleet {
        let fleet = WorkerFleet(workers: try plans.map { _ in try WorkerProcess() })
        do {
            _ = try await fleet.each(progress: progress, label: "opening sessions", orders: plans.map(WorkerOrder.open)) { report in
                if case .ready = report { true } else { nil }
            }
        } catch {
            fleet.stop()
            throw error
        }
        return fleet
    }

    /// Runs the scenario in all workers from the same moment.
    /// - Parameter atStart: done at that moment.
    func run(
        label: String, progress: ProgressLine, atStart: @escaping @Sendable () throws -> Void = {}
    ) async throws -> [WorkerResult] {
        // A moment to tell every worker.
        let lead = Duration.milliseconds(200)
        let start = WorkerOrder.start((NIODeadline.now() + TimeAmount(lead)).uptimeNanoseconds)
        async let action: Void = {
            try await Task.sleep(for: lead)
            try atStart()
        }()
        let results = try await each(progress: progress, label: label, orders: workers.map { _ in start }) { report in
            if case .finished(let result) = report { result } else { nil }
        }
        try await action
        return results
    }

    /// Ends the workers; their sessions close.
    func stop() {
        for worker in workers { worker.stop() }
    }

    /// Gives each worker its order and waits for each one's answer.
    private func each<Answer: Sendable>(
        progress: ProgressLine, label: String, orders: [WorkerOrder], answer: @escaping @Sendable (WorkerReport) -> Answer?
    ) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (index, worker) in workers.enumerated() {
                group.addTask {
                    try await worker.tell(orders[index])
                    while let report = try await worker.next() {
                        switch report {
                        case .progress(let figures): await progress.update(worker: index, figures, label: label)
                        case .failed(let reason): throw BenchFailure(reason)
                        default: if let answer = answer(report) { return (index, answer) }
                        }
                    }
                    throw BenchFailure("a worker process ended early")
                }
            }
            var answers: [Int: Answer] = [:]
            for try await (index, answer) in group { answers[index] = answer }
            return workers.indices.compactMap { answers[$0] }
        }
    }
}

/// One child process of this program.
private final class WorkerProcess: Sendable {
    private let process: Process
    private let orders: FileHandle
    private let reports: LineReader

    init() throws {
        let input = Pipe()
        let output = Pipe()
        process = Process()
        process.executableURL = try Self.executable()
        process.arguments = ["bench", "worker"]
        process.standardInput = input
        process.standardOutput = output
        orders = input.fileHandleForWriting
        reports = LineReader(descriptor: dup(output.fileHandleForReading.fileDescriptor))
        try process.run()
    }

    func tell(_ order: WorkerOrder) async throws {
        try orders.write(contentsOf: try JSONEncoder().encode(order) + Data([UInt8(ascii: "\n")]))
    }

    func next() async throws -> WorkerReport? { try await reports.next(WorkerReport.self) }

    /// The end of its input ends a worker. Its own failure to do so is no reason to hang here: nobody waits for it.
    func stop() { try? orders.close() }

    private static func executable() throws -> URL {
        #if os(Linux)
        return URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        #else
        guard let url = Bundle.main.executableURL else { throw BenchFailure("cannot find this program's own file") }
        return url
        #endif
    }
}
