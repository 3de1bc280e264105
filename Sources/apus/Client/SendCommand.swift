import ApusClient
import ApusProtocol
import ArgumentParser
import Foundation

struct SendCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Send messages; prints {\"id\":…,\"conversation\":…,\"seq\":…} for each once the server has made it durable.",
        discussion: """
            A message goes through the profile's outbox: it survives the loss of the connection, and when this command is killed the next \
            one sends it first. With --id the same command may be run again and again and the message is still sent once.

            \(CommandExit.help)
            """)

    @OptionGroup var options: ProfileOptions

    @Option(help: "The receiver's username.")
    var to: String?

    @Option(help: "The conversation's id, instead of --to.")
    var conversation: ConversationID?

    @Flag(name: .customLong("stdin"), help: "Send every line of stdin as a message, in order, without waiting for each one's answer.")
    var fromStandardInput = false

    @Option(help: ArgumentHelp("Deliver at this time, like 2026-01-01T08:00:00Z; the server keeps the message.", valueName: "time"))
    var at: String?

    @Option(help: ArgumentHelp("Deliver after so many seconds.", valueName: "seconds"))
    var delay: Double?

    @Option(help: "Names the message, for a repeated run; with --stdin line 3 is named ID-3.")
    var id: String?

    @Option(help: "What the body is: text, or custom for a JSON document.")
    var kind = "text"

    @Option(help: "Seconds without any progress after which to give up; the messages stay in the outbox.")
    var timeout = 60.0

    @Argument(help: "The text; several words need no quotes.")
    var text: [String] = []

    func validate() throws {
        guard (to == nil) != (conversation == nil) else { throw ValidationError("give either --to or --conversation") }
        guard text.isEmpty == fromStandardInput else { throw ValidationError("give either a text or --stdin") }
        guard at == nil || delay == nil else { throw ValidationError("give either --at or --delay") }
        if let delay, !(delay > 0 && delay < 1e9) { throw ValidationError("--delay is above 0") }
        if let at, Self.date(at) == nil { throw ValidationError("--at is a time like 2026-01-01T08:00:00Z") }
        if let id, id.isEmpty || id.utf8.count > 50 { throw ValidationError("--id is 1 to 50 bytes") }
        guard ["text", "custom"].contains(kind) else { throw ValidationError("--kind is text or custom") }
        guard timeout > 0 else { throw ValidationError("--timeout is above 0") }
    }

    func execute() async throws {
        try await withClient(sends: true) { client in
            // What an earlier command left behind was sent earlier and so goes out earlier.
            let left = try await client.pendingSends()
            await client.connect()
            let pipeline = SendPipeline(patience: .seconds(timeout))
            let conversation = try await resolve(client, pipeline)
            let faults = try await pipeline.run { sink in
                for pending in left { await sink.add(pending, isLeftOver: true) }
                if fromStandardInput {
                    try await sendLines(to: conversation, client: client, sink: sink)
                } else {
                    try await send(text.joined(separator: " "), name: id, to: conversation, client: client, sink: sink)
                }
            }
            guard faults == 0 else { throw ExitCode(CommandExit.refused.rawValue) }
        }
    }

    private func resolve(_ client: Client, _ pipeline: SendPipeline) async throws -> ConversationID {
        if let conversation { return conversation }
        guard let to else { throw CommandFailure(.software, "no receiver") }
        do {
            return try await pipeline.retryingWhileUnreachable { try await client.directConversation(with: to).id }
        } catch let error as ApusError where error.code == .notFound {
            throw CommandFailure(.refused, "there is no user \(to)")
        }
    }

    private func sendLines(to conversation: ConversationID, client: Client, sink: SendPipeline.Sink) async throws {
        let lines = LineReader(descriptor: STDIN_FILENO)
        var number = 0
        while let line = try await lines.nextLine() {
            number += 1
            guard let text = String(data: line, encoding: .utf8) else {
                await sink.fault("line \(number) is not UTF-8 and was not sent")
                continue
            }
            // An empty line is no message.
            guard !text.isEmpty else { continue }
            try await send(text, name: id.map { "\($0)-\(number)" }, to: conversation, client: client, sink: sink)
        }
    }

    private func send(
        _ text: String, name: String?, to conversation: ConversationID, client: Client, sink: SendPipeline.Sink
    ) async throws {
        try await sink.waitForRoom()
        do {
            let pending = try await client.enqueue(
                text, to: conversation, kind: EntryKind(rawValue: kind), clientID: name ?? UUID().uuidString, deliverAt: deliverAt)
            await sink.add(pending, isLeftOver: false)
        } catch let error as ApusError where error.code == .invalidArgument {
            await sink.fault(error.message)
        }
    }

    private var deliverAt: Date? {
        if let delay { return Date().addingTimeInterval(delay) }
        return at.flatMap(Self.date)
    }

    private static func date(_ text: String) -> Date? {
        (try? Date(text, strategy: .iso8601)) ?? (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
    }
}
