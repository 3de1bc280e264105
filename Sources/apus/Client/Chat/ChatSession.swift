import ApusClient
import ApusProtocol
import Foundation

/// A running chat: typed lines and the client's events become messages, marks and lines on the screen.
actor ChatSession {
    let client: Client
    let screen: any ChatScreen
    let catalogue: Catalogue
    let names: NameBook
    let login: LoginInfo
    var state: ChatState
    /// The conversations of the last `:ls`, for `:open NUMBER`.
    var listed: [ConversationInfo] = []
    /// For commands that only show something: whoever waits for a slow answer goes on typing meanwhile.
    private let lookups = SideLane(waitingMax: 16)

    init(client: Client, screen: any ChatScreen, catalogue: Catalogue, login: LoginInfo) {
        self.client = client
        self.screen = screen
        self.catalogue = catalogue
        self.login = login
        names = NameBook(client: client)
        state = ChatState(me: login.account)
    }

    /// Runs until the person quits, the input ends or the login does.
    /// - Parameter first: the conversation to begin with, as after `:open`.
    func run(open first: String?) async throws {
        let events = client.events()
        state.setUnread(unreadCounts(try await client.localConversations()))
        for pending in try await client.pendingSends() { state.enqueued(pending.clientID, in: pending.conversation) }
        await client.connect()
        await screen.show(catalogue(.welcome(name: login.username)))
        if let first { await perform(.open(first)) }
        await updatePrompt()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { for await event in events where await self.handle(event) == .over { return } }
            group.addTask {
                try await self.readInput()
                await self.reportUnsent()
            }
            group.addTask { try await self.watchTyping() }
            group.addTask { await self.lookups.run() }
            // Whatever ends first ends the chat.
            try await group.next()
            group.cancelAll()
            while let ended = await group.nextResult() {
                if case .failure(let error) = ended, !(error is CancellationError) { throw error }
            }
        }
    }

    // MARK: Input

    private func readInput() async throws {
        while let stroke = try await screen.next() {
            switch stroke {
            case .typing(let text):
                if let open = state.open, !text.isEmpty, !text.hasPrefix(":") { await client.typing(in: open.id) }
            case .line(let line):
                let input = ChatInput(line: line)
                if input == .quit {
                    // A person wants to go; a script wants its answers.
                    if !screen.showsPrompt { await lookups.finish() }
                    return
                }
                await take(input)
            }
        }
        await lookups.finish()
    }

    private func take(_ input: ChatInput) async {
        switch input.turn {
        case .atOnce: await perform(input)
        case .beside:
            return await lookups.add {
                await self.perform(input)
                await self.updatePrompt()
            }
        case .alone:
            await lookups.finish()
            await perform(input)
        }
        await updatePrompt()
    }

    private func watchTyping() async throws {
        while true {
            try await Task.sleep(for: .seconds(1))
            if state.expireTyping(now: Date()) { await updatePrompt() }
        }
    }

    /// Does what a line asks for; what goes wrong is shown and ends nothing.
    func perform(_ input: ChatInput) async {
        do {
            try await attempt(input)
        } catch {
            await screen.show(catalogue(.failed((error as? ApusError)?.message ?? "\(error)")))
        }
    }

    func send(_ text: String, deliverAt: Date? = nil) async throws {
        guard let open = state.open else { return await screen.show(catalogue(.noConversationOpen)) }
        let clientID = ClientEntryID.next()
        // Before the call: the acknowledgement may come before it returns.
        state.enqueued(clientID, in: open.id)
        do {
            _ = try await client.enqueue(Emoji.expand(text), to: open.id, clientID: clientID, deliverAt: deliverAt)
        } catch {
            state.answered(clientID)
            throw error
        }
    }

    /// The messages just typed get a moment to reach the server; what does not make it waits in the outbox.
    private func reportUnsent() async {
        let left = (try? await client.pendingSends()) ?? []
        guard !left.isEmpty else { return }
        let unsent = await withTaskGroup(of: Bool.self) { group in
            for pending in left {
                group.addTask {
                    do {
                        _ = try await pending.acknowledgement()
                        return true
                    } catch {
                        // A refused message has left the outbox; the event about it was shown.
                        return (error as? ApusError).map { CommandExit($0.code) == .refused } ?? false
                    }
                }
            }
            group.addTask {
                try? await Task.sleep(for: .seconds(3))
                return false
            }
            var answered = 0
            while answered < left.count, await group.next() == true { answered += 1 }
            group.cancelAll()
            return left.count - answered
        }
        if unsent > 0 { await screen.show(catalogue(.stillUnsent(unsent))) }
    }

    // MARK: Events

    enum Continuation { case goOn, over }

    private func handle(_ event: ClientEvent) async -> Continuation {
        switch event {
        case .entry(let entry): await show(new: entry)
        case .acknowledged(let ack):
            state.answered(ack.clientID)
            if let time = ack.deliverAt {
                await screen.show(catalogue(.messageScheduled(at: EntryText(catalogue: catalogue).time(time, now: Date()))))
            }
        case .sendFailed(_, let clientID, let error):
            state.answered(clientID)
            await screen.show(catalogue(.notSent(error.message)))
        case .marks(let marks): await show(marks)
        case .typing(let conversation, let account): state.isTyping(account, in: conversation, now: Date())
        case .connection(let connection): await changed(connection)
        case .reset(let conversation, let first) where conversation == state.open?.id:
            await screen.show(catalogue(.historyLost(first: first)))
        case .reset: break
        case .missedEvents:
            await screen.show(catalogue(.missedEvents))
            if let locals = try? await client.localConversations() { state.setUnread(unreadCounts(locals)) }
        case .loggedOut:
            await screen.show(catalogue(.loginEnded))
            return .over
        }
        await updatePrompt()
        return .goOn
    }

    private func show(new entry: Entry) async {
        if let event = entry.systemEvent, event.event == .renamed {
            await names.forget(entry.conversation)
            if entry.conversation == state.open?.id, let title = event.title { state.rename(title) }
        }
        if state.received(entry) {
            await screen.show(await line(for: entry))
            await markRead(entry.conversation, through: entry.seq)
        } else if entry.sender != login.account, state.connection == .online {
            // While the client catches up the unread counts say enough.
            await screen.show(await line(for: entry, place: await names.conversation(entry.conversation)))
        }
    }

    private func show(_ marks: ReadMarks) async {
        guard let news = state.received(marks), !screen.showsPrompt else { return }
        switch news {
        case .delivered(let account, let seq): await screen.show(catalogue(.delivered(to: await names.account(account), seq: seq)))
        case .read(let account, let seq): await screen.show(catalogue(.read(by: await names.account(account), seq: seq)))
        }
    }

    private func changed(_ connection: ConnectionState) async {
        let before = state.connection
        state.connection = connection
        // Where there is no prompt, the person learns about a lost connection by a line, and only once.
        guard !screen.showsPrompt else { return }
        switch (before, connection) {
        case (.online, .waiting), (.connecting, .failed): await screen.show("(\(ChatPrompt.connection(connection, catalogue)))")
        default: break
        }
    }

    // MARK: The screen

    func line(for entry: Entry, place: String? = nil) async -> String {
        let sender = entry.sender == login.account ? catalogue(.you) : await names.account(entry.sender)
        let known = await names.accounts(entry.mentionedAccounts)
        return EntryText(catalogue: catalogue).line(entry, sender: sender, place: place) { known[$0] ?? "\($0)" }
    }

    func updatePrompt() async {
        var typing: [String] = []
        for account in state.typing.keys.sorted() { typing.append(await names.account(account)) }
        await screen.setPrompt(ChatPrompt.text(state, typing: typing, catalogue: catalogue))
    }

    /// A mark that cannot be kept now is set again with the next message.
    func markRead(_ conversation: ConversationID, through seq: Seq) async {
        try? await client.markRead(conversation, through: seq)
    }

    private func unreadCounts(_ locals: [LocalConversation]) -> [ConversationID: Int] {
        Dictionary(locals.map { ($0.id, $0.unread) }, uniquingKeysWith: { first, _ in first })
    }
}
