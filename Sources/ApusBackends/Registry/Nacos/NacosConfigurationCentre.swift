import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Crypto
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOHTTP1

/// The configuration centre in Nacos: a document is the `dataId` of its name in the configured namespace and group.
///
/// Follows alibaba/nacos 2.3.2, `config/src/main/java/com/alibaba/nacos/config/server/`: `controller/ConfigController.java` (get and
/// listener), `controller/ConfigServletInner.java` (404 for what is not there, 409 while it is being written, `Content-MD5`),
/// `service/LongPollingService.java` (how long a listener waits) and `utils/MD5Util.java` (the format of `Listening-Configs`).
public struct NacosConfigurationCentre: ConfigurationCentre {
    private struct Document {
        var text: String
        /// Empty for one that does not exist.
        var md5: String
    }

    private let client: NacosClient
    private let configuration: NacosConfiguration
    private let logger: Logger
    /// Between two tries when Nacos cannot be used or says that something changed and it has not.
    private static let pause = Duration.seconds(1)
    private static let wordSeparator = "\u{2}"
    private static let lineSeparator = "\u{1}"

    public init(_ configuration: NacosConfiguration, http: HTTPClient = .shared, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        client = NacosClient(configuration, http: http)
    }

    public func text(of name: String) async throws -> String { try await document(name).text }

    /// Asks Nacos while somebody waits for the next element.
    public func changes(of name: String) -> AsyncStream<String> {
        let state = ChangeState()
        return AsyncStream { await next(name, state) }
    }

    /// What one stream of changes knows.
    private final class ChangeState: Sendable {
        let last = LastText()
        let md5 = NIOLockedValueBox<String?>(nil)
    }

    /// Nil when cancelled.
    private func next(_ name: String, _ state: ChangeState) async -> String? {
        var hasFailed = false
        while !Task.isCancelled {
            do {
                if let known = state.md5.withLockedValue({ $0 }) {
                    guard try await waitForChange(of: name, from: known) else { continue }
                }
                let document = try await document(name)
                let isNew = state.md5.withLockedValue { md5 in
                    defer { md5 = document.md5 }
                    return md5 != document.md5
                }
                if state.last.replace(with: document.text) { return document.text }
                // Another MD5 of the same text can be right; the same MD5 after a change means that this server lags behind.
                if !isNew { try await Task.sleep(for: Self.pause) }
            } catch {
                if Task.isCancelled { return nil }
                if !hasFailed { logger.warning("Nacos cannot be used; the settings stay", metadata: ["error": "\(error)"]) }
                hasFailed = true
                try? await Task.sleep(for: Self.pause)
            }
        }
        return nil
    }

    private func document(_ name: String) async throws -> Document {
        try DocumentName.check(name)
        var parameters = [("dataId", name), ("group", configuration.group)]
        if !configuration.namespace.isEmpty { parameters.append(("tenant", configuration.namespace)) }
        let answer = try await client.request(.GET, "/v1/cs/configs", parameters)
        switch answer.status {
        case .ok:
            // The server's own idea of it: of an encrypted document it is not the MD5 of what was sent.
            let md5 = answer.headers.first(name: "Content-MD5") ?? Self.md5(of: answer.text)
            return Document(text: answer.text, md5: md5)
        case .notFound: return Document(text: "", md5: "")
        case .conflict: throw ApusError(.storeUnavailable, "Nacos is just writing \(name)")
        default: throw ApusError(.internal, "Nacos refuses to read \(name): \(answer.status.code) \(answer.text.prefix(300))")
        }
    }

    /// False when nothing has changed after the time that one request waits.
    private func waitForChange(of name: String, from md5: String) async throws -> Bool {
        let tenant = configuration.namespace.isEmpty ? [] : [configuration.namespace]
        let listening = ([name, configuration.group, md5] + tenant).joined(separator: Self.wordSeparator) + Self.lineSeparator
        // It answers half a second early, and waits for 10 s at the least.
        let wait = configuration.longPollTimeout
        let answer = try await client.request(
            .POST, "/v1/cs/configs/listener", [], form: [("Listening-Configs", listening)],
            headers: ["Long-Pulling-Timeout": String(wait.milliseconds)], timeout: max(wait, .seconds(10)) + configuration.callTimeout)
        guard answer.status == .ok else {
            throw ApusError(.internal, "Nacos refuses to watch \(name): \(answer.status.code) \(answer.text.prefix(300))")
        }
        return !answer.text.allSatisfy(\.isWhitespace)
    }

    private static func md5(of text: String) -> String {
        Insecure.MD5.hash(data: Data(text.utf8)).map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
