import ApusClient

/// The state of a chat in the few characters before the line being typed.
enum ChatPrompt {
    static func text(_ state: ChatState, typing: [String], catalogue: Catalogue) -> String {
        var parts: [String] = []
        switch state.connection {
        case .online, .syncing: break
        default: parts.append("(\(connection(state.connection, catalogue)))")
        }
        if state.unreadElsewhere > 0 { parts.append("(\(catalogue(.unread(state.unreadElsewhere))))") }
        if !typing.isEmpty { parts.append("(\(catalogue(.typing(typing))))") }
        if let open = state.open {
            parts.append(EntryText.printable(open.name))
            if let progress = progress(state.progress, kind: open.kind == .group) { parts.append(progress) }
        }
        return (parts + ["> "]).joined(separator: " ")
    }

    static func connection(_ state: ConnectionState, _ catalogue: Catalogue) -> String {
        switch state {
        case .disconnected: catalogue(.stateOffline)
        case .connecting: catalogue(.stateConnecting)
        case .syncing, .online: catalogue(.stateOnline)
        case .waiting(let pause): catalogue(.stateWaiting(seconds: pause.seconds))
        case .failed(let code): catalogue(.stateFailed(code: Int(code.rawValue)))
        }
    }

    private static func progress(_ progress: ChatState.Progress, kind isGroup: Bool) -> String? {
        switch progress {
        case .nothingSent: nil
        case .sending(let count): "…\(count)"
        case .sent: "✓"
        case .delivered: "✓✓"
        case .read(let count, let members): isGroup ? "✓✓\(count)/\(members)" : "✓✓👁"
        }
    }
}
