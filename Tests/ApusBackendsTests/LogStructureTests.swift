import ApusCore
import ApusProtocol
import Testing

@testable import ApusBackends

/// The values that the log of the embedded store is made of.
@Suite struct LogStructureTests {
    private func logged(_ conversation: UInt64, _ seq: Seq, position: UInt64) -> LoggedEntry {
        let entry = Entry(
            conversation: ConversationID(conversation), seq: seq, id: EntryID(position), sender: AccountID(1),
            at: Timestamp(milliseconds: 1), kind: .text, body: "xx")
        return LoggedEntry(position: position, clientID: "c\(position)", entry: entry)
    }

    @Test("recent entries give ranges, heads and names, and forget what left")
    func recentEntries() {
        var recent = RecentEntries()
        let id = ConversationID(1)
        for place in 1...6 as ClosedRange<UInt64> { recent.append(logged(1, place + 10, position: place * 2)) }
        recent.append(logged(2, 1, position: 13))
        #expect(recent.count == 7)
        #expect(recent.bytes == 14)
        #expect(recent.firstSeq(of: id) == 11)
        #expect(recent.entries(of: id, in: 1...12, limit: 9).map(\.seq) == [11, 12])
        #expect(recent.entries(of: id, in: 13 ... .max, limit: 2).map(\.seq) == [13, 14])
        #expect(recent.entries(of: id, in: 17 ... .max, limit: 9).isEmpty)
        #expect(recent.entries(of: id, in: 1...10, limit: 9).isEmpty)
        #expect(recent.heads[id] == LogHead(seq: 16, position: 12))
        #expect(recent.prefix(of: id, through: 7, limit: 9).map(\.position) == [2, 4, 6])
        #expect(recent.prefix(of: id, through: 99, limit: 2).map(\.position) == [2, 4])
        let name = logged(1, 12, position: 4).name
        #expect(recent.entry(named: name)?.seq == 12)
        recent.removeFirst(2, of: id)
        #expect(recent.entry(named: name) == nil)
        #expect(recent.entry(named: logged(1, 13, position: 6).name)?.seq == 13)
        #expect(recent.firstSeq(of: id) == 13)
        recent.removeFirst(4, of: id)
        #expect(recent.firstSeq(of: id) == nil)
        #expect(recent.heads[id] == nil)
        #expect(recent.count == 1)
        #expect(recent.bytes == 2)
    }

    @Test("a cache keeps what is used and stays within its cost")
    func boundedCache() {
        var cache = BoundedCache<Int, Int>(costMax: 20) { _ in 1 }
        for key in 0..<100 {
            cache.insert(key, for: key)
            #expect(cache.value(for: 0) == 0, "the key that is always used is still there")
            #expect(cache.count <= 22)
        }
        #expect(cache.value(for: 99) == 99)
        #expect(cache.value(for: 50) == nil)
        cache.insert(-1, for: 99)
        #expect(cache.value(for: 99) == -1, "a new value replaces the old one")
        cache.removeAll()
        #expect(cache.value(for: 99) == nil)
    }

    @Test("a flush begins at its bound, owes work in proportion to appends, and ends")
    func flushBudget() {
        var flush = LogFlush(entriesMin: 10, bytesMin: .max, sliceMin: 12)
        var recent = RecentEntries()
        var position: UInt64 = 0
        var slices = 0
        while position < 1000 {
            let slice = FlushSlice(&flush, appending: 1, to: recent, end: position)
            if case .none = slice.work {} else { slices += 1 }
            position += 1
            recent.append(logged(position % 3, position / 3 + 1, position: position))
            for (id, count) in slice.moved { recent.removeFirst(count, of: id) }
            flush.state = slice.next
            flush.deletedThrough = slice.deletedThrough
            #expect(recent.count <= 20)
        }
        #expect(slices > 100)
        #expect(flush.deletedThrough > 950)
    }
}
