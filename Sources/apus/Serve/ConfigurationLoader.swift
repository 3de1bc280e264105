import Configuration
import Foundation
import NIOConcurrencyHelpers

/// What is wrong with a configuration, all of it at once.
struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    var problems: [String]

    var description: String { problems.joined(separator: "\n") }
}

/// Reads the configuration: command line over environment over file over defaults. Nothing is ignored: a name that is no
/// setting is a problem, since it is nearly always a spelling mistake whose author believes that it took effect.
@available(macOS 15, *)
struct ConfigurationLoader {
    /// `APUS_…` variables of the terminal client, which a server may find in its environment.
    static let clientVariables: Set<String> = [
        "APUS_HOME", "APUS_PROFILE", "APUS_CA", "APUS_LANGUAGE", "APUS_SERVER", "APUS_USERNAME", "APUS_PASSWORD",
    ]
    static let fileVariable = "APUS_CONFIG"
    static let fileFlag = "config"

    private var problems: [String] = []
    private var sources: [ConfigurationSource] = []

    /// - Parameter arguments: what follows `apus serve`.
    /// - Throws: ``ConfigurationError``.
    static func load(arguments: [String], environment: [String: String]) async throws -> ServerConfiguration {
        var loader = ConfigurationLoader()
        return try await loader.load(arguments: arguments, environment: environment)
    }

    private mutating func load(arguments: [String], environment: [String: String]) async throws -> ServerConfiguration {
        let options = checkOptions(arguments)
        checkVariables(environment)
        sources = [.commandLine(arguments), .environment(environment)]
        if let path = options[Self.fileFlag] ?? environment[Self.fileVariable] {
            await readFile(path)
        }
        var configuration = ServerConfiguration()
        for key in ConfigurationKey.table { set(key, in: &configuration) }
        problems += configuration.contradictions
        guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
        return configuration
    }

    /// Applies the value of the first source that has one.
    private mutating func set(_ key: ConfigurationKey, in configuration: inout ServerConfiguration) {
        for source in sources {
            let content: ConfigContent?
            do {
                content = try source.content(key)
            } catch {
                // The value has another type than asked for: said below, in words that name what is permitted.
                content = nil
                problems.append(source.complaint(key))
                return
            }
            guard let content else { continue }
            if !key.apply(content, &configuration) { problems.append(source.complaint(key)) }
            return
        }
    }

    // MARK: Names that are no settings

    /// The provider takes whatever looks like an option, so the names are checked here. Returns the values by flag.
    private mutating func checkOptions(_ arguments: [String]) -> [String: String] {
        let flags = Set(ConfigurationKey.table.map(\.flag) + [Self.fileFlag])
        var values: [String: String] = [:]
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            guard argument.hasPrefix("--") else {
                problems.append("command line: '\(argument)' belongs to no option")
                continue
            }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let flag = parts[0]
            // Taken also for an unknown option, lest its value be reported as another problem.
            let value = parts.count == 2 ? parts[1] : (rest.first?.hasPrefix("--") == false ? rest.popFirst() : nil)
            if !flags.contains(flag) {
                problems.append("command line: there is no option --\(flag); `apus serve --help` lists them all")
            } else if value == nil {
                problems.append("command line: --\(flag) needs a value")
            } else if values.updateValue(value ?? "", forKey: flag) != nil {
                problems.append("command line: --\(flag) is given more than once")
            }
        }
        return values
    }

    private mutating func checkVariables(_ environment: [String: String]) {
        let known = Self.clientVariables.union(ConfigurationKey.table.map(\.environment)).union([Self.fileVariable])
        for name in environment.keys.sorted() where name.hasPrefix("APUS_") && !known.contains(name) {
            problems.append("environment: \(name) is no setting of Apus; `apus serve --help` lists them all")
        }
    }

    // MARK: The file

    private mutating func readFile(_ path: String) async {
        // The providers tell their keys to nobody but the specifier of secrets, which is asked about each key once while the
        // file is parsed. So it is where unknown ones are found.
        let keys = NIOLockedValueBox<Set<String>>([])
        let isSecret: @Sendable (String) -> Bool = { key in
            keys.withLockedValue { _ = $0.insert(key) }
            return true
        }
        do {
            switch (path as NSString).pathExtension.lowercased() {
            case "yaml", "yml":
                let options = YAMLSnapshot.ParsingOptions(secretsSpecifier: .dynamic { key, _ in isSecret(key) })
                sources.append(.file(path, try await FileProvider<YAMLSnapshot>(parsingOptions: options, filePath: .init(path))))
            case "json":
                let options = JSONSnapshot.ParsingOptions(secretsSpecifier: .dynamic { key, _ in isSecret(key) })
                sources.append(.file(path, try await FileProvider<JSONSnapshot>(parsingOptions: options, filePath: .init(path))))
            default:
                problems.append("file \(path): the name must end in .yaml, .yml or .json")
            }
        } catch {
            problems.append("file \(path): cannot be read: \(error)")
        }
        let known = Set(ConfigurationKey.table.map(\.name))
        for key in keys.withLockedValue({ $0 }).subtracting(known).sorted() {
            problems.append("file \(path): there is no setting \(key); `apus serve --help` lists them all")
        }
    }
}

/// One place that settings come from.
@available(macOS 15, *)
private struct ConfigurationSource {
    private enum Kind {
        case commandLine, environment
        case file(path: String)
    }

    private let kind: Kind
    private let provider: any ConfigProvider

    static func commandLine(_ arguments: [String]) -> Self {
        Self(kind: .commandLine, provider: CommandLineArgumentsProvider(arguments: ["apus"] + arguments))
    }

    static func environment(_ variables: [String: String]) -> Self {
        Self(kind: .environment, provider: EnvironmentVariablesProvider(environmentVariables: variables))
    }

    static func file(_ path: String, _ provider: some ConfigProvider) -> Self {
        Self(kind: .file(path: path), provider: provider)
    }

    /// Nil when this source does not set the key. Throws when what it has is of another type.
    func content(_ key: ConfigurationKey) throws -> ConfigContent? {
        // The command line provider splits every value at its commas; a path may have some.
        if case .commandLine = kind, key.type == .string {
            guard case .stringArray(let parts) = try lookUp(key, .stringArray) else { return nil }
            return .string(parts.joined(separator: ","))
        }
        return try lookUp(key, key.type)
    }

    func complaint(_ key: ConfigurationKey) -> String {
        let value = key.isSecret ? "the value (not shown)" : "'\(text(of: key))'"
        let name =
            switch kind {
            case .commandLine: "command line: --\(key.flag)"
            case .environment: "environment: \(key.environment)"
            case .file(let path): "file \(path): \(key.name)"
            }
        return "\(name): \(value) is not permitted; permitted: \(key.permitted)"
    }

    /// As it was written, whatever its type.
    private func text(of key: ConfigurationKey) -> String {
        for type in [ConfigType.string, .stringArray, .int, .double] {
            // A value of another type throws; the next type is tried.
            switch try? lookUp(key, type) {
            case .string(let text)?: return text
            case .stringArray(let texts)?: return texts.joined(separator: ",")
            case .int(let number)?: return String(number)
            case .double(let number)?: return String(number)
            default: continue
            }
        }
        return "?"
    }

    private func lookUp(_ key: ConfigurationKey, _ type: ConfigType) throws -> ConfigContent? {
        let path =
            switch kind {
            case .commandLine: [key.flag]
            case .environment: [key.environment]
            case .file: key.name.split(separator: ".").map(String.init)
            }
        return try provider.value(forKey: AbsoluteConfigKey(path), type: type).value?.content
    }
}
