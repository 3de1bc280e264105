import ApusCore
import ApusServer
import Configuration
import Foundation

/// One setting of the server: its names in the three sources, what it permits, what it means and where it goes.
struct ConfigurationKey: Sendable {
    /// In a file: a path of nested keys, joined by dots.
    let name: String
    /// On the command line, without the dashes.
    let flag: String
    /// What the value looks like in `--help`.
    let placeholder: String
    /// What is permitted, in words: for messages and documentation.
    let permitted: String
    /// As one would write it; empty: none.
    let defaultText: String
    let meaning: String
    /// Never printed.
    let isSecret: Bool
    let type: ConfigType
    /// Writes the value into a configuration; false: the value is not permitted.
    let apply: @Sendable (ConfigContent, inout ServerConfiguration) -> Bool

    var environment: String {
        "APUS_" + flag.uppercased().replacing("-", with: "_")
    }
}

/// A place in ``ServerConfiguration``.
typealias ConfigurationPath<Value> = any (WritableKeyPath<ServerConfiguration, Value> & Sendable)

extension ConfigurationKey {
    /// - Parameter flag: nil: the name with dashes for dots.
    private init(
        _ name: String, flag: String?, placeholder: String, permitted: String, defaultText: String, meaning: String, isSecret: Bool = false,
        type: ConfigType, apply: @escaping @Sendable (ConfigContent, inout ServerConfiguration) -> Bool
    ) {
        self.init(
            name: name, flag: flag ?? name.replacing(".", with: "-"), placeholder: placeholder, permitted: permitted,
            defaultText: defaultText, meaning: meaning, isSecret: isSecret, type: type, apply: apply)
    }

    static func integer(
        _ name: String, _ path: ConfigurationPath<Int>, _ range: ClosedRange<Int>, unit: String = "", _ meaning: String
    ) -> Self {
        let unitSuffix = unit.isEmpty ? "" : " \(unit)"
        return Self(
            name, flag: nil, placeholder: unit.isEmpty || unit.contains(" ") ? "N" : unit.uppercased(),
            permitted: "\(range.lowerBound) to \(range.upperBound)\(unitSuffix)",
            defaultText: String(ServerConfiguration()[keyPath: path]), meaning: meaning, type: .int
        ) { content, configuration in
            guard case .int(let value) = content, range.contains(value) else { return false }
            configuration[keyPath: path] = value
            return true
        }
    }

    static func text(
        _ name: String, _ path: ConfigurationPath<String>, placeholder: String, permitted: String, isSecret: Bool = false,
        _ meaning: String, where isPermitted: @escaping @Sendable (String) -> Bool
    ) -> Self {
        Self(
            name, flag: nil, placeholder: placeholder, permitted: permitted, defaultText: ServerConfiguration()[keyPath: path],
            meaning: meaning, isSecret: isSecret, type: .string
        ) { content, configuration in
            guard case .string(let value) = content, isPermitted(value) else { return false }
            configuration[keyPath: path] = value
            return true
        }
    }

    static func address(_ name: String, flag: String, _ path: ConfigurationPath<NetworkAddress>, _ meaning: String) -> Self {
        Self(
            name, flag: flag, placeholder: "HOST:PORT", permitted: "HOST:PORT, port 0 to 65535, IPv6 in brackets",
            defaultText: ServerConfiguration()[keyPath: path].description, meaning: meaning, type: .string
        ) { content, configuration in
            guard case .string(let text) = content, let value = NetworkAddress(text) else { return false }
            configuration[keyPath: path] = value
            return true
        }
    }

    static func choice<Value: RawRepresentable & CaseIterable & Sendable>(
        _ name: String, _ path: ConfigurationPath<Value>, _ meaning: String
    ) -> Self where Value.RawValue == String {
        let permitted = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return Self(
            name, flag: nil, placeholder: "NAME", permitted: permitted, defaultText: ServerConfiguration()[keyPath: path].rawValue,
            meaning: meaning, type: .string
        ) { content, configuration in
            guard case .string(let text) = content, let value = Value(rawValue: text) else { return false }
            configuration[keyPath: path] = value
            return true
        }
    }

    static func list<Element: Sendable & CustomStringConvertible>(
        _ name: String, _ path: ConfigurationPath<[Element]>, placeholder: String, permitted: String, isSecret: Bool = false,
        _ meaning: String, element: @escaping @Sendable (String) -> Element?
    ) -> Self {
        Self(
            name, flag: nil, placeholder: placeholder, permitted: permitted,
            defaultText: ServerConfiguration()[keyPath: path].map(\.description).joined(separator: ","), meaning: meaning,
            isSecret: isSecret, type: .stringArray
        ) { content, configuration in
            guard case .stringArray(let parts) = content else { return false }
            // An empty text is how the command line and the environment say "none".
            let texts = parts.filter { !$0.isEmpty }
            let values = texts.compactMap(element)
            guard values.count == texts.count else { return false }
            configuration[keyPath: path] = values
            return true
        }
    }
}

enum URLCheck {
    /// Whether `text` is an absolute URL with one of these schemes and a host, and no query or fragment.
    static func isURL(_ text: String, schemes: Set<String>) -> Bool {
        guard let url = URLComponents(string: text), let scheme = url.scheme, let host = url.host else { return false }
        return schemes.contains(scheme) && !host.isEmpty && url.query == nil && url.fragment == nil && url.user == nil
    }

    /// An origin of RFC 6454: scheme, host and port, nothing more.
    static func isOrigin(_ text: String) -> Bool {
        isURL(text, schemes: ["http", "https"]) && URLComponents(string: text)?.path.isEmpty == true
    }
}
