import ApusClient
import ApusProtocol
import Foundation

extension ChatSession {
    /// Does what a line asks for.
    func attempt(_ input: ChatInput) async throws {
        switch input {
        case .nothing, .quit: break
        case .message(let text): try await send(text)
        case .delay(let seconds, let text): try await send(text, deliverAt: Date().addingTimeInterval(seconds))
        case .open(let name): try await open(name)
        case .list: try await list()
        case .history(let count): try await showHistory(count)
        case .search(let keyword): try await search(keyword)
        case .online: try await showOnline()
        case .users(let prefix): try await showUsers(prefix)
        case .info: try await showInfo()
        case .emoji(let page): await showEmoji(page)
        case .createGroup(let title, let members): try await createGroup(title, members)
        case .invite(let members): try await invite(members)
        case .members: try await showMembers()
        case .rename(let title): try await rename(title)
        case .leave: try await leave()
        case .help: await screen.show(catalogue(.help))
        case .incomplete(let usage): await screen.show(catalogue(.missingArgument(usage: usage)))
        case .unknown(let name): await screen.show(catalogue(.unknownCommand(name)))
        }
    }

    // MARK: Conversations

    private func open(_ name: String) async throws {
        guard let info = try await conversation(named: name) else { return await screen.show(catalogue(.notFound(name))) }
        try await show(info)
    }

    /// A number of the last list, an id, a group's title, or a username.
    private func conversation(named name: String) async throws -> ConversationInfo? {
        if let number = Int(name), listed.indices.contains(number - 1) { return listed[number - 1] }
        let known = try await client.conversations()
        if let id = ConversationID(name), let info = known.first(where: { $0.id == id }) { return info }
        if let info = known.first(where: { $0.kind == .group && $0.title.lowercased() == name.lowercased() }) { return info }
        do {
            return try await client.directConversation(with: name)
        } catch let error as ApusError where error.code == .notFound || error.code == .invalidArgument {
            return nil
        }
    }

    private func show(_ info: ConversationInfo) async throws {
        let name = await names.remember(info)
        state.open(ChatState.Open(id: info.id, name: name, kind: info.kind), marks: try await client.marks(of: info.id))
        await screen.show(catalogue(.opened(EntryText.printable(name))))
        try await showHistory(10)
    }

    /// From the local store, or from the server what a fresh store does not have yet.
    private func showHistory(_ count: Int) async throws {
        guard let open = state.open else { return await screen.show(catalogue(.noConversationOpen)) }
        var entries = try await client.localHistory(of: open.id, before: .max, limit: count)
        if entries.isEmpty {
            let head = try await client.conversation(open.id).head
            let from = head > UInt64(count) ? head - UInt64(count) + 1 : 1
            if head > 0 { entries = try await client.history(of: open.id, from: from, limit: count).entries.map(\.entry) }
        }
        for entry in entries { await screen.show(await line(for: entry)) }
        state.showed(entries)
        if let last = entries.last { await markRead(open.id, through: last.seq) }
    }

    private func list() async throws {
        listed = try await client.conversations()
        guard !listed.isEmpty else { return await screen.show(catalogue(.noConversations)) }
        for (index, info) in listed.enumerated() {
            let name = EntryText.printable(await names.remember(info))
            var parts = ["\(index + 1). \(info.id == state.open?.id ? "▸ " : "")\(name)"]
            if info.kind == .group { parts.append(catalogue(.memberCount(info.memberCount))) }
            let unread = state.unread[info.id] ?? 0
            if unread > 0 { parts.append(catalogue(.unread(unread))) }
            await screen.show(parts.joined(separator: "  "))
        }
    }

    private func createGroup(_ title: String, _ members: [String]) async throws {
        guard let ids = try await accounts(members) else { return }
        try await show(try await client.createGroup(title: title, members: ids.map(\.id)))
    }

    private func invite(_ members: [String]) async throws {
        guard let group = await openGroup(), let ids = try await accounts(members) else { return }
        try await client.invite(ids.map(\.id), to: group.id)
        await screen.show(catalogue(.invited(ids.map(\.username).joined(separator: ", "))))
    }

    private func rename(_ title: String) async throws {
        guard let group = await openGroup() else { return }
        try await client.rename(group.id, title: title)
    }

    private func leave() async throws {
        guard let group = await openGroup() else { return }
        try await client.leave(group.id)
        state.closeConversation()
        await screen.show(catalogue(.youLeft(EntryText.printable(group.name))))
    }

    private func openGroup() async -> ChatState.Open? {
        guard let open = state.open else {
            await screen.show(catalogue(.noConversationOpen))
            return nil
        }
        guard open.kind == .group else {
            await screen.show(catalogue(.groupOnly))
            return nil
        }
        return open
    }

    /// Nil, and a line about it, when one of them does not exist.
    private func accounts(_ usernames: [String]) async throws -> [AccountProfile]? {
        var accounts: [AccountProfile] = []
        for username in usernames {
            do {
                accounts.append(try await client.account(username: username))
            } catch let error as ApusError where error.code == .notFound {
                await screen.show(catalogue(.notFound(username)))
                return nil
            }
        }
        return accounts
    }

    private func showMembers() async throws {
        guard let open = state.open else { return await screen.show(catalogue(.noConversationOpen)) }
        for member in try await client.members(of: open.id) {
            await screen.show("\(await names.account(member.account))  \(member.role.rawValue)  ✓✓ #\(member.read)")
        }
    }

    // MARK: People, search, state

    private func search(_ keyword: String) async throws {
        let found = try await client.search(keyword)
        guard !found.isEmpty else { return await screen.show(catalogue(.nothingFound)) }
        // Newest last, where the eye is.
        for entry in found.reversed() {
            await screen.show(await line(for: entry, place: await names.conversation(entry.conversation)))
        }
    }

    private func showOnline() async throws {
        let online = try await client.online()
        for account in online.accounts { await screen.show(describe(account)) }
        await screen.show(catalogue(.onlineCount(online.count)))
    }

    private func showUsers(_ prefix: String) async throws {
        let found = try await client.searchAccounts(prefix: prefix)
        if found.isEmpty { await screen.show(catalogue(.nothingFound)) }
        for account in found { await screen.show(describe(account)) }
    }

    private func describe(_ account: AccountProfile) -> String {
        let name = EntryText.printable(account.displayName)
        return name == account.username || name.isEmpty ? account.username : "\(account.username)  \(name)"
    }

    private func showInfo() async throws {
        let waiting = try await client.pendingSends().count
        var lines = [
            "\(catalogue(.infoServer)): \(client.configuration.server.absoluteString)",
            "\(catalogue(.infoAccount)): \(login.username) (\(login.account))",
            "\(catalogue(.infoDevice)): \(login.device)",
            "\(catalogue(.infoState)): \(ChatPrompt.connection(state.connection, catalogue))",
        ]
        if let open = state.open { lines.append("\(catalogue(.infoConversation)): \(EntryText.printable(open.name)) (\(open.id))") }
        lines.append("\(catalogue(.infoOutbox)): \(waiting)")
        await screen.show(lines.joined(separator: "\n"))
    }

    private func showEmoji(_ page: Int) async {
        let emoji = Emoji.page(page)
        guard !emoji.isEmpty else { return await screen.show(catalogue(.nothingFound)) }
        let names = emoji.map { "\($0.character) :\($0.name):" }
        for row in stride(from: 0, to: names.count, by: 4) {
            await screen.show(names[row..<min(row + 4, names.count)].joined(separator: "  "))
        }
        await screen.show(catalogue(.emojiPage(page, of: Emoji.pageCount)))
    }
}
