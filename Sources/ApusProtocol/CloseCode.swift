/// Why the server ends a connection. Over WebSocket the status code of the close frame, over TCP `close.code`.
/// The range says what the client does next.
public struct CloseCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// What a client does after a close.
    public enum Advice: Sendable, Equatable {
        /// Connect again, with back-off.
        case reconnect
        /// Connect again, then sync and pull: pushes were dropped.
        case resync
        /// The session's credentials are void: a person logs in again.
        case login
        /// The client is at fault: the same would happen again.
        case giveUp
    }

    public var advice: Advice {
        switch rawValue {
        case 4100..<4200: .resync
        case 4200..<4300: .login
        case 4300..<4400, 1002, 1003, 1007, 1009: .giveUp
        default: .reconnect
        }
    }

    // RFC 6455 section 7.4.1
    public static let normal = CloseCode(rawValue: 1000)
    public static let protocolError = CloseCode(rawValue: 1002)
    public static let unsupportedData = CloseCode(rawValue: 1003)
    public static let invalidPayload = CloseCode(rawValue: 1007)
    public static let messageTooBig = CloseCode(rawValue: 1009)
    // 4000-4099: reconnect
    public static let goingAway = CloseCode(rawValue: 4000)
    public static let heartbeatTimeout = CloseCode(rawValue: 4001)
    public static let tooManyConnections = CloseCode(rawValue: 4002)
    public static let unavailable = CloseCode(rawValue: 4003)
    /// No valid `hello` in time.
    public static let handshakeTimeout = CloseCode(rawValue: 4004)
    // 4100-4199: reconnect, then resync
    public static let slowConsumer = CloseCode(rawValue: 4100)
    // 4200-4299: log in again
    public static let tokenRefused = CloseCode(rawValue: 4200)
    public static let deviceRevoked = CloseCode(rawValue: 4201)
    // 4300-4399: give up
    public static let malformed = CloseCode(rawValue: 4300)
    public static let outOfState = CloseCode(rawValue: 4301)
    public static let frameTooLarge = CloseCode(rawValue: 4302)
    public static let tooManyErrors = CloseCode(rawValue: 4303)
}
