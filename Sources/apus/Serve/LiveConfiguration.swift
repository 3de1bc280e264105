import ApusCore
import Configuration
import Foundation
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// The configuration of a running server: what it was started with, and over that the settings of a document that may change at any
/// time. The document is YAML or JSON with the names of a configuration file, and may set the live ones only.
@available(macOS 15, *)
struct LiveConfiguration: Sendable {
    let start: ServerConfiguration
    private(set) var current: ServerConfiguration

    /// A longer document is refused.
    static let documentBytesMax = 1 << 20

    init(_ start: ServerConfiguration) {
        self.start = start
        current = start
    }

    /// Makes ``current`` what this document says. What it does not name is again as the server was started.
    /// - Throws: ``ConfigurationError`` with all that is wrong; then nothing of the document is applied, and ``current`` stays.
    mutating func apply(_ document: String) throws {
        let content = try LiveDocument(document)
        var next = start
        var problems: [String] = []
        for name in content.names.sorted() {
            guard let key = ConfigurationKey.table.first(where: { $0.name == name }) else {
                problems.append("there is no setting \(name); `apus serve --help` lists them all")
                continue
            }
            guard key.isLive else {
                problems.append("\(name) cannot change while the server runs")
                continue
            }
            guard let value = content.value(of: key), key.apply(value, &next) else {
                problems.append("\(name): '\(content.text(of: key))' is not permitted; permitted: \(key.permitted)")
                continue
            }
        }
        if problems.isEmpty { problems = next.contradictions }
        guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
        current = next
    }
}

/// A document, parsed.
@available(macOS 15, *)
private struct LiveDocument {
    let names: Set<String>
    /// Nil: nothing is set.
    private let snapshot: (any ConfigSnapshot)?

    init(_ text: String) throws {
        guard text.utf8.count <= LiveConfiguration.documentBytesMax else {
            throw ConfigurationError(problems: ["the document is longer than \(LiveConfiguration.documentBytesMax) bytes"])
        }
        // The parsers want a mapping at the top; no line that says anything is none.
        let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
        guard lines.contains(where: { !$0.isEmpty && !$0.hasPrefix("#") && $0 != "---" }) else {
            names = []
            snapshot = nil
            return
        }
        // The specifier of secrets is asked about each key once; so it is where the names are found.
        let keys = NIOLockedValueBox<Set<String>>([])
        let note: @Sendable (String) -> Bool = { key in
            keys.withLockedValue { _ = $0.insert(key) }
            return true
        }
        do {
            let data = Data(text.utf8)
            if lines.first(where: { !$0.isEmpty })?.hasPrefix("{") == true {
                snapshot = try JSONSnapshot(
                    data: data.bytes, providerName: "document", parsingOptions: .init(secretsSpecifier: .dynamic { key, _ in note(key) }))
            } else {
                snapshot = try YAMLSnapshot(
                    data: data.bytes, providerName: "document", parsingOptions: .init(secretsSpecifier: .dynamic { key, _ in note(key) }))
            }
        } catch {
            throw ConfigurationError(problems: ["the document is neither YAML nor JSON: \(error)"])
        }
        names = keys.withLockedValue { $0 }
    }

    /// Nil when it has another type.
    func value(of key: ConfigurationKey) -> ConfigContent? { lookUp(key, key.type) }

    /// As it was written, whatever its type. Secrets are not live, so it may be shown.
    func text(of key: ConfigurationKey) -> String {
        for type in [ConfigType.string, .stringArray, .int, .double] {
            switch lookUp(key, type) {
            case .string(let text)?: return text
            case .stringArray(let texts)?: return texts.joined(separator: ",")
            case .int(let number)?: return String(number)
            case .double(let number)?: return String(number)
            default: continue
            }
        }
        return "?"
    }

    private func lookUp(_ key: ConfigurationKey, _ type: ConfigType) -> ConfigContent? {
        let path = AbsoluteConfigKey(key.name.split(separator: ".").map(String.init))
        // Throws for a value of another type.
        return try? snapshot?.value(forKey: path, type: type).value?.content
    }
}

/// Follows a document in the configuration centre and hands on each configuration that it makes; a document that is wrong is said in
/// the log and changes nothing.
@available(macOS 15, *)
struct LiveConfigurationFollower: Service {
    let centre: any ConfigurationCentre
    let document: String
    let start: ServerConfiguration
    let logger: Logger
    /// Called with each configuration that differs from the one before, the first time when the document changes anything.
    let apply: @Sendable (ServerConfiguration) async -> Void

    func run() async {
        var live = LiveConfiguration(start)
        for await text in centre.changes(of: document).cancelOnGracefulShutdown() {
            let before = live.current
            do {
                try live.apply(text)
            } catch {
                logger.warning("the document is refused; the settings stay", metadata: ["document": "\(document)", "error": "\(error)"])
                continue
            }
            guard live.current != before else { continue }
            logger.info("the settings have changed", metadata: ["document": "\(document)"])
            await apply(live.current)
        }
    }
}
