import ArgumentParser
import Foundation
import NIOCore
import NIOPosix

/// One process of a load, started by the others: reads orders on stdin, answers on stdout.
struct WorkerBenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker", abstract: "A process of a load; started by the other subcommands.", shouldDisplay: false)

    func run() async throws {
        FileLimit.raise()
        // One loop: a second core is used by a second process, and all state here needs no lock.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let orders = LineReader(descriptor: STDIN_FILENO)
        guard case .open(let plan)? = try await orders.next(WorkerOrder.self) else { return }
        let worker = try await loop.submit {
            NIOLoopBound(Worker(plan: plan, loop: loop.assumeIsolated()), eventLoop: loop)
        }.get()
        loop.flatSubmit { worker.value.open() }.whenComplete { outcome in
            switch outcome {
            case .success: report(.ready)
            case .failure(let error): report(.failed("\(error)"))
            }
        }
        // Always reading: the end of the input means that the coordinator is done or gone, whatever the worker is doing. Until
        // then the sessions stay open, so that the coordinator can read the server's figures.
        while let order = try await orders.next(WorkerOrder.self) {
            guard case .start(let moment) = order else { continue }
            loop.flatSubmit { worker.value.run(at: moment) }.whenComplete { outcome in
                switch outcome {
                case .success(let result): report(.finished(result))
                case .failure(let error): report(.failed("\(error)"))
                }
            }
        }
        try await group.shutdownGracefully()
    }
}

private func report(_ report: WorkerReport) {
    do {
        Output.line(String(decoding: try JSONEncoder().encode(report), as: UTF8.self))
    } catch {
        Output.note("apus bench worker: cannot encode a report: \(error)")
    }
}

/// The sessions of a worker and the scenario that uses them. Confined to the loop.
private final class Worker {
    private let plan: WorkerPlan
    private let loop: NIOIsolatedEventLoop
    private let driver: any ScenarioDriver
    private var sessions: [BenchSession] = []
    private var opened = 0
    private var isRunning = false

    init(plan: WorkerPlan, loop: NIOIsolatedEventLoop) {
        self.plan = plan
        self.loop = loop
        driver =
            switch plan.scenario {
            case .idle(let seconds): IdleDriver(seconds: seconds, loop: loop)
            case .pairs(let pairs): PairsDriver(plan: pairs, loop: loop)
            case .group(let group): GroupDriver(plan: group, loop: loop)
            case .reconnect(let reconnect): ReconnectDriver(plan: reconnect, worker: plan, loop: loop)
            }
    }

    /// Opens all sessions, a bounded number at a time.
    func open() -> EventLoopFuture<Void> {
        everySecond()
        return EventLoopFuture.andAllSucceed((0..<plan.connectsAtOnceMax).map { _ in openNext() }, on: loop.nonisolated())
    }

    private func openNext() -> EventLoopFuture<Void> {
        let index = sessions.count
        guard index < plan.tokens.count else { return loop.makeSucceededFuture(()) }
        do {
            let (session, welcomed) = try BenchSession.connect(
                index: index, node: plan.nodes[index % plan.nodes.count], token: plan.tokens[index], source: plan.source, delegate: driver,
                on: loop.nonisolated())
            sessions.append(session)
            return welcomed.assumeIsolated().flatMap { [self] in
                opened += 1
                return openNext()
            }.nonisolated()
        } catch {
            return loop.makeFailedFuture(error)
        }
    }

    func run(at moment: UInt64) -> EventLoopFuture<WorkerResult> {
        isRunning = true
        return driver.run(sessions, start: moment)
    }

    /// Progress and heartbeats.
    private func everySecond() {
        loop.scheduleTask(in: .seconds(1)) { [self] in
            report(.progress(isRunning ? driver.progress : WorkerProgress(open: opened)))
            let now = NIODeadline.now()
            for session in sessions { session.pingIfSilent(since: now) }
            driver.everySecond(now)
            everySecond()
        }
    }
}

/// The number of files that the process may open.
enum FileLimit {
    /// Raises the soft limit to the hard one. Where that fails the limit stays, and running into it is reported by the connect.
    static func raise() {
        var limit = rlimit()
        #if canImport(Glibc)
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
        let resource = RLIMIT_NOFILE
        #endif
        guard getrlimit(resource, &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(resource, &limit)
    }
}
