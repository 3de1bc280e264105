import ApusClient
import ApusProtocol
import Foundation

/// A client of the run.
struct Participant: Sendable {
    var name: String
    var account: AccountID
    var client: Client
    var events: ClientEvents
}

/// Who takes part in a contract test and in which conversations.
struct Cast: Sendable {
    struct WriterRole: Sendable {
        var participant: Participant
        /// What it writes to.
        var conversations: [ConversationID]
        /// Another device of the account, which sends some of the messages once more.
        var otherDevice: Participant
        var index: Int
    }

    var writers: [WriterRole]
    var readers: [Participant]
    /// Joins and leaves ``comingAndGoing`` again and again.
    var guest: Participant
    var comingAndGoing: ConversationID
    /// The two accounts of each direct conversation.
    var direct: [ConversationID: [AccountID]]
    var groups: [ConversationID]

    private static let cyclesMax = 1_000

    var participants: [Participant] { writers.map(\.participant) + writers.map(\.otherDevice) + readers + [guest] }

    /// Registers, logs in and connects everybody and makes the conversations: a direct one of each writer with the next writer and
    /// with a reader, a group of all, and one that the guest comes to and goes from.
    static func gather(_ options: ContractTest.Options, server: URL, directory: URL) async throws -> Cast {
        // Where it is measured how late messages are, clients have the patience of real ones.
        var makers = Makers(
            server: server, directory: directory,
            backoff: options.messagesPerSecond == nil ? .init(initial: .milliseconds(50), max: .seconds(1)) : .init())
        var writers: [Participant] = []
        var others: [Participant] = []
        var readers: [Participant] = []
        for index in 0..<max(1, options.writers) {
            writers.append(try await makers.participant("writer\(index)"))
            others.append(try await makers.participant("writer\(index)", device: "other"))
        }
        for index in 0..<max(1, options.readers) { readers.append(try await makers.participant("reader\(index)")) }
        let guest = try await makers.participant("guest")

        let members = (writers.dropFirst() + readers).map(\.account)
        let all = try await writers[0].client.createGroup(title: "all", members: members).id
        let comingAndGoing = try await writers[0].client.createGroup(title: "coming and going", members: members).id
        var direct: [ConversationID: [AccountID]] = [:]
        var targets = writers.map { _ in [all, comingAndGoing] }
        for index in writers.indices {
            let next = (index + 1) % writers.count
            if next != index {
                let pair = try await writers[index].client.directConversation(with: "writer\(next)").id
                direct[pair] = [writers[index].account, writers[next].account]
                targets[index].append(pair)
                if !targets[next].contains(pair) { targets[next].append(pair) }
            }
            let reader = index % readers.count
            let toReader = try await writers[index].client.directConversation(with: "reader\(reader)").id
            direct[toReader] = [writers[index].account, readers[reader].account]
            targets[index].append(toReader)
        }
        let cast = Cast(
            writers: writers.indices.map {
                WriterRole(participant: writers[$0], conversations: targets[$0], otherDevice: others[$0], index: $0)
            }, readers: readers, guest: guest, comingAndGoing: comingAndGoing, direct: direct, groups: [all, comingAndGoing])
        for participant in cast.participants { await participant.client.connect() }
        return cast
    }

    func close() async {
        for participant in participants { await participant.client.close() }
    }

    // MARK: The guest

    /// Lets the guest join and leave from the first message to the last.
    /// - Returns: how often.
    func inviteAndLeave(_ options: ContractTest.Options, _ recorder: Recorder) async throws -> Int {
        let host = writers[0].participant.client
        var random = SeededGenerator(seed: options.seed &+ 0x6E57)
        // Long runs have some hundred stays, as short ones do, and not thousands: each of them is a page of its own to the guest.
        let pauseMax = options.messagesPerSecond == nil ? min(max(options.messages / 100, 50), 1_000) : 100
        var cycles = 0
        while await !recorder.isOver(options), cycles < Self.cyclesMax {
            try await insist(recorder) { try await host.invite([guest.account], to: comingAndGoing) }
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...pauseMax, using: &random)))
            try await insist(recorder) {
                do {
                    try await guest.client.leave(comingAndGoing)
                } catch let error as ApusError where error.code == .notMember {
                    // An earlier try came through; its answer did not.
                }
            }
            cycles += 1
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...pauseMax, using: &random)))
        }
        return cycles
    }

    // MARK: Reading everything

    /// Every log, read by somebody who may see all of it.
    func readLogs() async throws -> [ConversationID: [Entry]] {
        var logs: [ConversationID: [Entry]] = [:]
        for group in groups { logs[group] = try await Self.log(of: group, as: writers[0].participant) }
        for (conversation, members) in direct {
            guard let reader = writers.first(where: { members.contains($0.participant.account) })?.participant else { continue }
            logs[conversation] = try await Self.log(of: conversation, as: reader)
        }
        return logs
    }

    /// The same logs once more, as every reader gets them from the server.
    func readAgain(_ conversations: [ConversationID]) async throws -> [History.Observation] {
        var observations: [History.Observation] = []
        for reader in readers + [guest] {
            for conversation in conversations where groups.contains(conversation) || direct[conversation]?.contains(reader.account) == true
            {
                let entries: [Entry]
                do {
                    entries = try await Self.log(of: conversation, as: reader)
                } catch let error as ApusError where error.code == .notMember {
                    entries = []
                }
                observations.append(
                    History.Observation(
                        reader: "\(reader.name) over HTTP", account: reader.account, conversation: conversation,
                        sights: entries.map { .entry($0) }))
            }
        }
        return observations
    }

    func visibility(_ logs: [ConversationID: [Entry]]) -> [ConversationID: [AccountID: [ClosedRange<Seq>]]] {
        var visibility: [ConversationID: [AccountID: [ClosedRange<Seq>]]] = [:]
        for group in groups { visibility[group] = History.visibility(ofGroup: logs[group] ?? []) }
        for (conversation, members) in direct {
            for member in members { visibility[conversation, default: [:]][member] = [1...Seq.max] }
        }
        return visibility
    }

    private static func log(of conversation: ConversationID, as reader: Participant) async throws -> [Entry] {
        var log: [Entry] = []
        var from: Seq = 1
        while true {
            let page = try await reader.client.history(of: conversation, from: from, limit: 200)
            log += page.entries.map(\.entry)
            if page.through >= page.head { return log }
            from = page.through + 1
        }
    }

    /// Tries again while the server is away.
    private func insist(_ recorder: Recorder, _ call: () async throws -> Void) async throws {
        while true {
            do {
                return try await call()
            } catch let error as ApusError where error.code.isRetryable || [.unreachable, .timedOut, .badAnswer].contains(error.code) {
                await recorder.callFailed(error)
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }
}

/// Makes participants, each with the next transport and kind of storage.
private struct Makers {
    let server: URL
    let directory: URL
    let backoff: Backoff.Policy
    private var accounts: [String: AccountID] = [:]
    private var count = 0

    init(server: URL, directory: URL, backoff: Backoff.Policy) {
        self.server = server
        self.directory = directory
        self.backoff = backoff
    }

    mutating func participant(_ username: String, device: String? = nil) async throws -> Participant {
        let name = [username, device].compactMap(\.self).joined(separator: "-")
        let transports = ClientConfiguration.Transport.allCases
        // A step of three transports and one of two kinds of storage: every pair occurs.
        var configuration = ClientConfiguration(
            server: server, storage: count % 2 == 0 ? .directory(directory.appending(path: name)) : .memory,
            transport: transports[count % transports.count], deviceName: name, clientVersion: "apus-contract-test/1")
        count += 1
        configuration.backoff = backoff
        configuration.eventBufferMax = 1 << 20
        configuration.logger.logLevel = .critical
        let client = try Client(configuration: configuration)
        let password = "a password of a contract test"
        if accounts[username] == nil { accounts[username] = try await client.register(username: username, password: password).id }
        let login = try await client.login(username: username, password: password)
        return Participant(name: name, account: login.account, client: client, events: client.events())
    }
}
