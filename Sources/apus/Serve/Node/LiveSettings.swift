import ApusCore
import Logging
import ServiceLifecycle

/// Brings changed settings to the parts of a node that go by them.
struct LiveSettings: Sendable {
    private var followers: [@Sendable (ServerConfiguration) -> Void] = [{ ServerLogHandler.processLevel.set($0.log.level) }]

    /// - Parameter apply: gets the whole configuration at each change, and must not wait for anything.
    mutating func follow(_ apply: @escaping @Sendable (ServerConfiguration) -> Void) { followers.append(apply) }

    func apply(_ configuration: ServerConfiguration) {
        for follower in followers { follower(configuration) }
    }

    /// What keeps the settings up to date; nil: nobody changes them.
    func service(_ configuration: ServerConfiguration, centre: (any ConfigurationCentre)?) -> (any Service)? {
        guard #available(macOS 15, *), let centre, !configuration.cluster.configuration.isEmpty else { return nil }
        return LiveConfigurationFollower(
            centre: centre, document: configuration.cluster.configuration, start: configuration, logger: Logger(label: "apus.settings"),
            apply: apply)
    }
}
