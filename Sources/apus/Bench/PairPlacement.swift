import ApusProtocol
import ArgumentParser

/// On which of several socket nodes the two sessions of a pair are.
enum PairPlacement: String, CaseIterable, ExpressibleByArgument {
    case same, across, mixed

    /// The nodes of sessions 0, 1, 2 …, to be repeated; sessions 2i and 2i+1 are a pair.
    func nodes(_ nodes: [BenchNode]) throws -> [BenchNode] {
        switch self {
        case .same: return nodes.flatMap { [$0, $0] }
        case .across:
            guard nodes.count > 1 else { throw BenchFailure("pairs across nodes need two socket nodes; the server named one") }
            return nodes.indices.flatMap { [nodes[$0], nodes[($0 + 1) % nodes.count]] }
        case .mixed: return nodes.count == 1 ? nodes : try Self.same.nodes(nodes) + Self.across.nodes(nodes)
        }
    }
}

extension BenchContext {
    /// The conversation of accounts 2i and 2i+1, for each pair. They are made once and found again; eight at a time is quick enough.
    func directConversations(pairs: Int) async throws -> [ConversationID] {
        var conversations = [ConversationID](repeating: ConversationID(0), count: pairs)
        for batch in stride(from: 0, to: pairs, by: 8) {
            try await withThrowingTaskGroup(of: (Int, ConversationID).self) { group in
                for index in batch..<min(batch + 8, pairs) {
                    let (sender, receiver) = (accounts[2 * index], accounts[2 * index + 1])
                    group.addTask {
                        let request = NewConversationRequest(kind: .direct, members: [receiver.id])
                        return (index, try await api.conversation(request, token: sender.accessToken).id)
                    }
                }
                for try await (index, conversation) in group { conversations[index] = conversation }
            }
        }
        return conversations
    }
}
