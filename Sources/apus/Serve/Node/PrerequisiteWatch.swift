import ApusCore
import ApusServer
import Logging
import ServiceLifecycle

/// Looks from time to time whether the servers that a running node uses are still there, and says so in `/readyz`.
struct PrerequisiteWatch: Service {
    private static let interval = Duration.seconds(2)

    struct Part: Sendable {
        var name: String
        /// Whether the node is of no use to anybody without it.
        var isNeeded: Bool
        var check: @Sendable () async throws -> Void
    }

    let parts: [Part]
    let readiness: Readiness
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var known: Set<String> = []
            while (try? await Task.sleep(for: Self.interval)) != nil {
                let missing = await self.missing()
                guard !Task.isCancelled else { return }
                note(missing, known: &known)
            }
        }
    }

    private func note(_ missing: [String: any Error], known: inout Set<String>) {
        let names = Set(missing.keys)
        let needed = Set(parts.filter(\.isNeeded).map(\.name))
        readiness.set(Readiness.Missing(needed: names.intersection(needed), useful: names.subtracting(needed)))
        for (name, error) in missing where !known.contains(name) {
            logger.warning(
                "\(name) cannot be reached\(needed.contains(name) ? "; the node is not ready until it can" : "")",
                metadata: ["error": "\(error)"])
        }
        for name in known.subtracting(names) { logger.notice("\(name) is back") }
        known = names
    }

    private func missing() async -> [String: any Error] {
        await withTaskGroup(of: (String, any Error)?.self) { group in
            for part in parts {
                group.addTask {
                    do {
                        try await part.check()
                        return nil
                    } catch {
                        return (part.name, error)
                    }
                }
            }
            return await group.reduce(into: [:]) { missing, found in
                if let (name, error) = found { missing[name] = error }
            }
        }
    }
}
