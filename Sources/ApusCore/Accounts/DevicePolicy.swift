import ApusProtocol

/// Which devices of an account may be logged in at the same time.
public enum DevicePolicy: String, Sendable, CaseIterable {
    /// Any number of devices.
    case all
    /// One device of each platform: a login ends the others of its platform.
    case onePerPlatform = "one-per-platform"
    /// One device: while it is connected, a second login is refused; when it is not, the login takes its place.
    case singleReject = "single-reject"
    /// One device: a login ends all others.
    case singleKick = "single-kick"

    /// Under any policy; a login beyond this ends the device that was not seen for the longest time.
    public static let devicesMax = 100

    /// A login that is about to happen.
    public struct Login: Sendable {
        public var platform: String
        /// The device that logs in again: it never stands in its own way, and the new login takes its place.
        public var replaces: DeviceID?

        public init(platform: String, replaces: DeviceID? = nil) {
            self.platform = platform
            self.replaces = replaces
        }
    }

    public enum Decision: Sendable, Equatable {
        /// Log in, then end these devices.
        case accept(ending: [DeviceID])
        case refuse
    }

    /// - Parameters:
    ///   - devices: all devices of the account.
    ///   - connected: those of them with an open session.
    public func decide(_ login: Login, devices: [Device], connected: Set<DeviceID>) -> Decision {
        let others = devices.filter { $0.id != login.replaces }
        let replaced = devices.filter { $0.id == login.replaces }
        var ended: [Device]
        switch self {
        case .all:
            ended = []
        case .onePerPlatform:
            ended = others.filter { $0.platform == login.platform }
        case .singleReject:
            guard !others.contains(where: { connected.contains($0.id) }) else { return .refuse }
            ended = others
        case .singleKick:
            ended = others
        }
        let left = others.filter { !ended.contains($0) }
        let surplus = max(0, left.count + 1 - Self.devicesMax)
        ended += left.sorted { $0.lastSeenAt < $1.lastSeenAt }.prefix(surplus)
        return .accept(ending: (replaced + ended).map(\.id))
    }
}
