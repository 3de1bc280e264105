import ApusCore
import ApusProtocol
import Foundation
import Logging

/// Writes log lines to standard error, each with one `write`, so that lines of several threads do not mix.
struct ServerLogHandler: LogHandler {
    /// Of all loggers that have none of their own, from the next line on.
    static let processLevel = LiveSetting(Logger.Level.info)

    var metadata: Logger.Metadata = [:]

    private let level: LiveSetting<Logger.Level>
    /// Somebody set it for one logger.
    private var ownLevel: Logger.Level?
    private let label: String
    private let format: LogFormat
    private let write: @Sendable (String) -> Void

    /// - Parameter write: gets a line with its line feed.
    init(
        label: String, level: LiveSetting<Logger.Level>, format: LogFormat,
        write: @escaping @Sendable (String) -> Void = StandardError.write
    ) {
        self.label = label
        self.level = level
        self.format = format
        self.write = write
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? level.value }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var values = metadata.merging(event.metadata ?? [:]) { _, new in new }
        if let error = event.error { values["error"] = "\(error)" }
        let record = LogRecord(
            at: Date().formatted(LogRecord.timeFormat), level: event.level, label: label, message: event.message.description,
            metadata: values.mapValues(\.description))
        write((format == .json ? record.json : record.text) + "\n")
    }

    /// Makes this the handler of every logger of the process. To be called once.
    static func bootstrap(_ configuration: ServerConfiguration.LogSettings) {
        processLevel.set(configuration.level)
        LoggingSystem.bootstrap { label in
            ServerLogHandler(label: label, level: processLevel, format: configuration.format)
        }
    }
}

struct LogRecord: Sendable {
    var at: String
    var level: Logger.Level
    var label: String
    var message: String
    var metadata: [String: String]

    static let timeFormat = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    var text: String {
        let values = metadata.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        // One record is one line, whatever somebody put into a message.
        return "\(at) \(level.rawValue) \(label): \(message)\(values)".replacing("\n", with: "\\n")
    }

    var json: String {
        var fields = metadata
        fields["at"] = at
        fields["level"] = level.rawValue
        fields["label"] = label
        fields["message"] = message
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings always encode; were it otherwise, the line is better lost than the server.
        guard let data = try? encoder.encode(fields) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }
}

enum StandardError {
    @Sendable static func write(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
    }
}
