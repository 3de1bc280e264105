import ApusClient
import ApusProtocol

/// Names for ids, asked once and remembered while the command runs.
actor NameBook {
    private let client: Client
    private var accounts: [AccountID: String] = [:]
    private var conversations: [ConversationID: String] = [:]

    init(client: Client) { self.client = client }

    /// A username; the id where the server does not tell, so that a line is shown in any case.
    func account(_ id: AccountID) async -> String {
        if let known = accounts[id] { return known }
        guard let profile = try? await client.account(id) else { return "\(id)" }
        accounts[id] = profile.username
        return profile.username
    }

    func accounts(_ ids: [AccountID]) async -> [AccountID: String] {
        var names: [AccountID: String] = [:]
        for id in ids { names[id] = await account(id) }
        return names
    }

    /// The title of a group, the name of the other one in a direct conversation.
    func conversation(_ id: ConversationID) async -> String {
        if let known = conversations[id] { return known }
        guard let info = try? await client.conversation(id) else { return "\(id)" }
        return await remember(info)
    }

    func remember(_ info: ConversationInfo) async -> String {
        let name: String
        if let peer = info.peer {
            name = await account(peer)
        } else {
            name = info.title.isEmpty ? "\(info.id)" : info.title
        }
        conversations[info.id] = name
        return name
    }

    /// A title has changed.
    func forget(_ id: ConversationID) { conversations[id] = nil }
}
