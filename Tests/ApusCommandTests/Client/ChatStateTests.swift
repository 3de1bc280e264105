import ApusClient
import ApusProtocol
import Foundation
import Testing

@testable import apus

@Suite struct ChatStateTests {
    private let me = AccountID(1)
    private let bob = AccountID(2)
    private let here = ConversationID(10)
    private let there = ConversationID(11)

    private func entry(_ seq: Seq, _ sender: AccountID, in conversation: ConversationID, kind: EntryKind = .text) -> Entry {
        Entry(
            conversation: conversation, seq: seq, id: EntryID(seq), sender: sender, at: Timestamp(milliseconds: 0), kind: kind, body: "")
    }

    private func opened(marks: [ReadMarks] = []) -> ChatState {
        var state = ChatState(me: me)
        state.open(ChatState.Open(id: here, name: "bob", kind: .direct), marks: marks)
        return state
    }

    private func mark(_ account: AccountID, read: Seq, delivered: Seq) -> ReadMarks {
        ReadMarks(conversation: here, account: account, read: read, delivered: delivered)
    }

    @Test("Entries of other conversations count as unread there, except one's own and the system's; opening clears them")
    func unread() {
        var state = opened()
        #expect(state.received(entry(1, bob, in: here)) == true)
        #expect(state.received(entry(1, bob, in: there)) == false)
        #expect(state.received(entry(2, me, in: there)) == false)
        #expect(state.received(entry(3, bob, in: there, kind: .system)) == false)
        #expect(state.unreadElsewhere == 1)
        state.open(ChatState.Open(id: there, name: "x", kind: .group), marks: [])
        #expect(state.unreadElsewhere == 0)
    }

    @Test("Reading on another device clears the unread count here")
    func readElsewhere() {
        var state = opened()
        _ = state.received(entry(1, bob, in: there))
        #expect(state.received(ReadMarks(conversation: there, account: me, read: 1, delivered: 1)) == nil)
        #expect(state.unreadElsewhere == 0)
    }

    @Test("A message goes from sending over sent and delivered to read, and each step is told once")
    func progress() {
        var state = opened()
        #expect(state.progress == .nothingSent)
        state.enqueued("a", in: here)
        #expect(state.progress == .sending(1))
        state.answered("a")
        _ = state.received(entry(5, me, in: here))
        #expect(state.progress == .sent)
        #expect(state.received(mark(bob, read: 0, delivered: 4)) == nil)
        #expect(state.received(mark(bob, read: 0, delivered: 5)) == .delivered(bob, 5))
        #expect(state.progress == .delivered)
        #expect(state.received(mark(bob, read: 5, delivered: 5)) == .read(bob, 5))
        #expect(state.received(mark(bob, read: 5, delivered: 5)) == nil)
        #expect(state.progress == .read(by: 1, of: 1))
        _ = state.received(entry(6, me, in: here))
        #expect(state.progress == .sent)
    }

    @Test("Marks known before the conversation was opened count")
    func knownMarks() {
        var state = opened(marks: [mark(bob, read: 9, delivered: 9), mark(me, read: 9, delivered: 9)])
        state.showed([entry(8, me, in: here), entry(9, bob, in: here)])
        #expect(state.progress == .read(by: 1, of: 1))
    }

    @Test("Somebody is typing until a message comes or some seconds have passed; oneself never is")
    func typing() {
        var state = opened()
        let now = Date(timeIntervalSince1970: 1000)
        state.isTyping(bob, in: here, now: now)
        state.isTyping(me, in: here, now: now)
        state.isTyping(AccountID(3), in: there, now: now)
        #expect(Set(state.typing.keys) == [bob])
        #expect(state.expireTyping(now: now.addingTimeInterval(5)) == false)
        #expect(state.expireTyping(now: now.addingTimeInterval(6)) == true)
        state.isTyping(bob, in: here, now: now)
        _ = state.received(entry(1, bob, in: here))
        #expect(state.typing.isEmpty)
    }

    @Test("The prompt shows what is unread elsewhere, who types, the conversation and the progress of the last message")
    func prompt() {
        let catalogue = Catalogue(language: .english)
        var state = opened()
        state.connection = .online
        #expect(ChatPrompt.text(state, typing: [], catalogue: catalogue) == "bob > ")
        _ = state.received(entry(1, bob, in: there))
        state.enqueued("a", in: here)
        #expect(ChatPrompt.text(state, typing: ["bob"], catalogue: catalogue) == "(1 unread) (bob is typing) bob …1 > ")
        state.connection = .waiting(.milliseconds(1500))
        #expect(ChatPrompt.text(state, typing: [], catalogue: catalogue).hasPrefix("(no connection; trying again in 1.5 s) "))
    }
}
