#if Cluster
import ApusCore
import Logging
import NIOCore
import NIOPosix
import NIOSSL

/// Why a request has no replies.
enum RedisConnectionError: Error, CustomStringConvertible {
    /// Redis has not seen it.
    case unsent(String)
    /// Redis may have done it.
    case lost(String)
    case full

    var description: String {
        switch self {
        case .unsent(let reason): "not sent: \(reason)"
        case .lost(let reason): "no answer: \(reason)"
        case .full: "too many commands wait"
        }
    }
}

/// One connection to one Redis server, made when it is needed and again when it is lost. Used on its event loop only.
final class RedisConnection {
    private enum State {
        case idle
        case connecting
        /// Connected; so many replies to the greeting are missing.
        case greeting(any Channel, missing: Int)
        case open(any Channel)
        case backingOff(Scheduled<Void>)
        case closed
    }

    struct Settings {
        var configuration: RedisConfiguration
        var tls: NIOSSLContext?
        var logger: Logger
    }

    private typealias Reply = EventLoopPromise<[RESPValue]>

    let address: NetworkAddress
    private let settings: Settings
    private let eventLoop: any EventLoop
    private var state = State.idle
    private var pipeline: RedisPipeline<Reply>
    private var backoff = RedisBackoff()
    private var random: any RandomNumberGenerator
    private var lastID: UInt64 = 0
    private var willFlush = false
    private var lastFailure = "not connected yet"

    init(_ address: NetworkAddress, settings: Settings, eventLoop: any EventLoop, random: any RandomNumberGenerator) {
        self.address = address
        self.settings = settings
        self.eventLoop = eventLoop
        self.random = random
        pipeline = RedisPipeline(commandsMax: settings.configuration.commandsMax)
    }

    var isOpen: Bool { pipeline.isOpen }

    /// Writes the commands together and in order. The replies, errors of Redis among them, or a ``RedisConnectionError``, by the deadline.
    func send(_ commands: [RedisCommand], deadline: NIODeadline, failsFast: Bool) -> EventLoopFuture<[RESPValue]> {
        eventLoop.preconditionInEventLoop()
        let promise = eventLoop.makePromise(of: [RESPValue].self)
        if case .closed = state {
            promise.fail(RedisConnectionError.unsent("the client is closed"))
            return promise.futureResult
        }
        lastID += 1
        let request = RedisPipeline<Reply>.Request(id: lastID, commands: commands, failsFast: failsFast, token: promise)
        switch pipeline.submit(request) {
        case .refuse:
            promise.fail(RedisConnectionError.full)
            return promise.futureResult
        case .write:
            if case .open(let channel) = state { write(commands, to: channel) }
        case .wait:
            if case .idle = state { connect() }
        }
        let timer = eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [id = lastID] in self.expire(id) }
        promise.futureResult.whenComplete { _ in timer.cancel() }
        return promise.futureResult
    }

    /// Ends the connection for ever. What waits fails.
    func close() {
        let old = state
        state = .closed
        switch old {
        case .greeting(let channel, _), .open(let channel): channel.close(promise: nil)
        case .backingOff(let timer): timer.cancel()
        case .idle, .connecting, .closed: break
        }
        fail(pipeline.closed(), .lost("the client is closed"))
        fail(pipeline.abandon(), .unsent("the client is closed"))
    }

    // MARK: Connecting

    private func connect() {
        state = .connecting
        let owner = NIOLoopBound(self, eventLoop: eventLoop)
        let (tls, host) = (settings.tls, address.host)
        ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(settings.configuration.connectTimeout))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: tls, serverHostname: Self.serverName(host)))
                    }
                    try channel.pipeline.syncOperations.addHandler(RedisReplyHandler(connection: owner.value))
                }
            }
            .connect(host: address.host, port: address.port)
            .assumeIsolated()
            .whenComplete { [self] result in
                switch (result, state) {
                case (.success(let channel), .connecting): greet(channel)
                case (.success(let channel), _): channel.close(promise: nil)
                case (.failure(let error), .connecting): disconnected("\(error)")
                case (.failure, _): break
                }
            }
    }

    /// SNI takes names only; the certificate of an address is checked against the address.
    private static func serverName(_ host: String) -> String? {
        (try? SocketAddress(ipAddress: host, port: 0)) == nil ? host : nil
    }

    /// Credentials, database and a ping: a server that accepts and does not answer, is loading, or refuses us, is not open.
    private func greet(_ channel: any Channel) {
        var greeting: [RedisCommand] = []
        if let password = settings.configuration.password {
            greeting.append(RedisCommand(["AUTH"] + (settings.configuration.username.map { [$0] } ?? []) + [password], key: nil))
        }
        if settings.configuration.database != 0 {
            greeting.append(RedisCommand(["SELECT", String(settings.configuration.database)], key: nil))
        }
        greeting.append(RedisCommand(["PING"], key: nil))
        state = .greeting(channel, missing: greeting.count)
        write(greeting, to: channel)
        let timer = eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(settings.configuration.connectTimeout)) { [self] in
            if case .greeting(let current, _) = state, current === channel { lost(channel, "no answer to the greeting") }
        }
        channel.closeFuture.whenComplete { _ in timer.cancel() }
    }

    private func opened(_ channel: any Channel) {
        state = .open(channel)
        backoff.succeeded()
        settings.logger.debug("connected to Redis", metadata: ["address": "\(address)"])
        for request in pipeline.opened() { write(request.commands, to: channel) }
    }

    private func disconnected(_ reason: String) {
        lastFailure = reason
        settings.logger.debug("no connection to Redis", metadata: ["address": "\(address)", "reason": "\(reason)"])
        fail(pipeline.closed(), .lost(reason))
        fail(pipeline.connectFailed(), .unsent(reason))
        let pause = backoff.next(using: &random)
        state = .backingOff(
            eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(pause)) { [self] in
                state = .idle
                if pipeline.isWaiting { connect() }
            })
    }

    // MARK: What the channel says

    func received(_ reply: RESPValue, on channel: any Channel) {
        switch state {
        case .greeting(let current, let missing) where current === channel:
            if case .error(let message) = reply { return lost(channel, message) }
            if missing == 1 { opened(channel) } else { state = .greeting(channel, missing: missing - 1) }
        case .open(let current) where current === channel:
            do {
                if let (promise, replies) = try pipeline.receive(reply) { promise.succeed(replies) }
            } catch {
                lost(channel, "\(error)")
            }
        default: break
        }
    }

    /// It is gone, or of no further use.
    func lost(_ channel: any Channel, _ reason: String) {
        // Closing calls this again, with a reason that says nothing.
        defer { channel.close(promise: nil) }
        switch state {
        case .greeting(let current, _) where current === channel, .open(let current) where current === channel: disconnected(reason)
        default: break
        }
    }

    // MARK: Requests

    /// All that is written in one turn of the loop leaves in one system call.
    private func write(_ commands: [RedisCommand], to channel: any Channel) {
        var buffer = channel.allocator.buffer(capacity: 64 * commands.count)
        for command in commands { command.encode(into: &buffer) }
        channel.write(buffer, promise: nil)
        guard !willFlush else { return }
        willFlush = true
        eventLoop.assumeIsolated().execute { [self] in
            willFlush = false
            switch state {
            case .greeting(let channel, _), .open(let channel): channel.flush()
            case .idle, .connecting, .backingOff, .closed: break
            }
        }
    }

    private func expire(_ id: UInt64) {
        switch pipeline.expire(id) {
        case .unsent(let promise): promise.fail(RedisConnectionError.unsent(lastFailure))
        case .unanswered(let promise, let isStalled):
            promise.fail(RedisConnectionError.lost("no answer in time"))
            // It may hang for hours in a connection whose other end is gone: the next one shows.
            if isStalled, case .open(let channel) = state { lost(channel, "Redis does not answer") }
        case nil: break
        }
    }

    private func fail(_ promises: [Reply], _ error: RedisConnectionError) {
        for promise in promises { promise.fail(error) }
    }
}

/// Bytes into replies.
private final class RedisReplyHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let parser = RESPParser()
    private let connection: RedisConnection

    init(connection: RedisConnection) { self.connection = connection }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            try unwrapInboundIn(data).withUnsafeReadableBytes { try parser.feed($0) }
            while let reply = try parser.next() { connection.received(reply, on: context.channel) }
        } catch {
            connection.lost(context.channel, "\(error)")
        }
    }

    func channelInactive(context: ChannelHandlerContext) { connection.lost(context.channel, "the connection was closed") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { connection.lost(context.channel, "\(error)") }
}
#endif
