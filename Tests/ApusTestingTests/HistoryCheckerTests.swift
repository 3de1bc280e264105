import ApusChaos
import ApusProtocol
import Testing

private typealias Fixture = HistoryFixture

@Suite("The history checker finds what breaks the delivery contract")
struct HistoryCheckerTests {
    /// Changes the good history and checks it.
    private func violations(_ change: (inout History) -> Void) -> [Violation] {
        var history = Fixture.good
        change(&history)
        return HistoryChecker.violations(in: history)
    }

    @Test("a good history has no violation")
    func good() {
        #expect(HistoryChecker.violations(in: Fixture.good) == [])
        #expect(HistoryChecker.violations(in: History()) == [])
    }

    // MARK: C1

    @Test("an acknowledged entry that is not in the log is lost")
    func lost() {
        let found = violations { history in
            history.sends.append(Fixture.send("c", "three", .acknowledged(Fixture.place(3))))
        }
        #expect(found == [.lost(Fixture.name("c"), acknowledged: "seq 3 id 1003")])
    }

    @Test("a scheduled message whose time has passed and that is not in the log is lost")
    func lostScheduled() {
        let found = violations { $0.sends.append(Fixture.send("c", "three", .scheduled(EntryID(9)))) }
        #expect(found == [.lost(Fixture.name("c"), acknowledged: "scheduled, id 9")])
    }

    @Test("an entry that a reader saw and the log lacks is lost")
    func seenButGone() {
        let found = violations { history in
            history.sends.append(Fixture.send("c", "three", .unknown))
            history.observations[1].sights.append(.entry(Fixture.entry(3, "three")))
        }
        #expect(found == [.seenButNotInLog(reader: "bob-1", Fixture.talk, 3)])
    }

    @Test("a reset although nothing was removed is found")
    func reset() {
        let found = violations { history in
            history.observations[1].sights.insert(.reset(first: 1), at: 0)
        }
        #expect(found == [.resetWithoutCause(reader: "bob-1", Fixture.talk, first: 1)])
    }

    // MARK: C2

    @Test("a seq that the log leaves out is a gap")
    func gap() {
        let found = violations { history in
            let third = Fixture.entry(4, "three")
            history.sends.append(Fixture.send("c", "three", .acknowledged(Fixture.place(4))))
            history.logs[Fixture.talk]?.append(third)
            for index in history.observations.indices { history.observations[index].sights.append(.entry(third)) }
        }
        // Nobody could see seq 3: that is the same fault told by every reader.
        #expect(found.contains(.gap(Fixture.talk, expected: 3, found: 4)))
        #expect(found.allSatisfy { $0.promise == 2 || $0.promise == 5 })
    }

    @Test("a conversation without its log cannot be checked and is reported")
    func noLog() {
        #expect(violations { $0.logs = [:] }.contains(.noLog(Fixture.talk)))
    }

    @Test("an entry that nobody sent is invented")
    func invented() {
        let found = violations { history in
            let third = Fixture.entry(3, "three")
            history.logs[Fixture.talk]?.append(third)
            for index in history.observations.indices { history.observations[index].sights.append(.entry(third)) }
        }
        #expect(found == [.invented(Fixture.talk, 3)])
    }

    @Test("an entry whose text was changed is invented, and what was acknowledged is lost")
    func changedText() {
        let found = violations { history in
            history.logs[Fixture.talk]?[1].body = "tvo"
            for index in history.observations.indices { history.observations[index].sights[1] = .entry(Fixture.entry(2, "tvo")) }
        }
        #expect(Set(found) == [.invented(Fixture.talk, 2), .lost(Fixture.name("b"), acknowledged: "seq 2 id 1002")])
    }

    @Test("a reader that saw another entry at a seq is found")
    func readerDiffers() {
        let found = violations { $0.observations[1].sights[1] = .entry(Fixture.entry(2, "two", id: EntryID(77))) }
        #expect(found == [.readerDiffers(reader: "bob-1", Fixture.talk, 2)])
    }

    @Test("an id that names two entries is found")
    func idTwice() {
        let found = violations { history in
            history.sends.append(Fixture.send("c", "three", .unknown))
            history.logs[Fixture.talk]?.append(Fixture.entry(3, "three", id: EntryID(1_002)))
            history.observations = []
        }
        #expect(found == [.idTwice(EntryID(1_002))])
    }

    // MARK: C3

    @Test("a message that is in the log twice is doubled")
    func doubled() {
        let found = violations { history in
            let again = Fixture.entry(3, "one")
            history.logs[Fixture.talk]?.append(again)
            for index in history.observations.indices { history.observations[index].sights.append(.entry(again)) }
        }
        #expect(found == [.doubled(Fixture.name("a"), [1, 3])])
    }

    @Test("two acknowledgements of one name that differ are found")
    func acknowledgementsDiffer() {
        let found = violations { history in
            history.sends.append(Fixture.send("a", "one", session: "ada-2", .acknowledged(Fixture.place(2))))
        }
        #expect(
            found == [
                .acknowledgementsDiffer(Fixture.name("a")),
                .acknowledgementNotAsInLog(Fixture.name("a"), acknowledged: "seq 2 id 1002", log: Fixture.place(1)),
            ])
    }

    @Test("an acknowledgement with another seq than the log's is found")
    func acknowledgedElsewhere() {
        let found = violations { $0.sends[1].outcome = .acknowledged(Fixture.place(3)) }
        #expect(found == [.acknowledgementNotAsInLog(Fixture.name("b"), acknowledged: "seq 3 id 1003", log: Fixture.place(2))])
    }

    @Test("an acknowledgement with another id than the log's is found")
    func acknowledgedAsOther() {
        let found = violations { $0.sends[1].outcome = .acknowledged(History.Place(id: EntryID(5), seq: 2)) }
        #expect(found == [.acknowledgementNotAsInLog(Fixture.name("b"), acknowledged: "seq 2 id 5", log: Fixture.place(2))])
    }

    @Test("a client id that was acknowledged with two contents is found")
    func conflictAccepted() {
        let found = violations { $0.sends.append(Fixture.send("a", "other", .acknowledged(Fixture.place(1)))) }
        #expect(found == [.conflictAccepted(Fixture.name("a"))])
    }

    @Test("what was refused for good and is in the log is found")
    func refusedButStored() {
        let found = violations { $0.sends[1].outcome = .refused(.tooLarge) }
        #expect(found == [.refusedButStored(Fixture.name("b"), 2)])
    }

    // MARK: C4

    @Test("two messages of a session in the other order are re-ordered")
    func reordered() {
        let found = violations { $0.sends.swapAt(0, 1) }
        #expect(
            found == [.reordered(session: "ada-1", first: Fixture.name("b"), at: 2, second: Fixture.name("a"), 1)])
    }

    @Test("a message without an answer that was stored late is re-ordered")
    func reorderedUnknown() {
        let found = violations { history in
            history.sends[0].outcome = .unknown
            history.sends.swapAt(0, 1)
        }
        #expect(found.map(\.promise) == [4])
    }

    // MARK: C5

    @Test("an entry that a reader saw twice is found")
    func seenTwice() {
        let found = violations { $0.observations[1].sights.append(.entry(Fixture.entry(2, "two"))) }
        #expect(found == [.seenTwice(reader: "bob-1", Fixture.talk, 2)])
    }

    @Test("entries that a reader saw in the wrong order are found")
    func seenOutOfOrder() {
        let found = violations { $0.observations[1].sights.swapAt(0, 1) }
        #expect(found == [.seenOutOfOrder(reader: "bob-1", Fixture.talk, 1, after: 2)])
    }

    @Test("a hole in what a reader saw is found, also when the reader did not wait for the end")
    func hole() {
        let whole = violations { $0.observations[1].sights.removeFirst() }
        #expect(whole == [.missed(reader: "bob-1", Fixture.talk, 1...1)])
        let part = violations { history in
            history.observations[1].sights.removeFirst()
            history.observations[1].isComplete = false
        }
        #expect(part == [.missed(reader: "bob-1", Fixture.talk, 1...1)])
    }

    @Test("an end that a reader never got is found")
    func missedEnd() {
        let found = violations { $0.observations[1].sights.removeLast() }
        #expect(found == [.missed(reader: "bob-1", Fixture.talk, 2...2)])
    }

    // MARK: C7

    @Test("an entry that an account saw and was not a member for is found")
    func outsideMembership() {
        let after = violations { $0.visibility[Fixture.talk]?[Fixture.bob] = [1...1] }
        #expect(after == [.seenOutsideMembership(reader: "bob-1", Fixture.bob, Fixture.talk, 2)])
        let stranger = violations { history in
            history.observations.append(Fixture.observation("eve-1", Fixture.eve, [Fixture.entry(1, "one")], isComplete: false))
        }
        #expect(stranger == [.seenOutsideMembership(reader: "eve-1", Fixture.eve, Fixture.talk, 1)])
    }

    @Test("an entry of a sender who was not a member is found")
    func sentOutsideMembership() {
        let found = violations { history in
            history.visibility[Fixture.talk]?[Fixture.ada] = [1...1]
            history.observations.remove(at: 0)
        }
        #expect(found == [.sentOutsideMembership(Fixture.ada, Fixture.talk, 2)])
    }

    @Test("a history in which two names have the same content is refused rather than judged wrongly")
    func unusable() {
        let found = violations { $0.sends.append(Fixture.send("c", "two", .unknown)) }
        #expect(found.contains { $0.promise == nil })
    }
}

@Suite("The history checker accepts what the delivery contract permits")
struct PermittedHistoryTests {
    private func expectNone(_ change: (inout History) -> Void, sourceLocation: SourceLocation = #_sourceLocation) {
        var history = Fixture.good
        change(&history)
        #expect(HistoryChecker.violations(in: history) == [], sourceLocation: sourceLocation)
    }

    @Test("a send without an answer may be in the log or not")
    func unknown() {
        expectNone { $0.sends[1].outcome = .unknown }
        expectNone { $0.sends.append(Fixture.send("c", "three", .unknown)) }
    }

    @Test("a repeated send yields the same acknowledgement, in any order and from any session")
    func repeated() {
        expectNone { history in
            history.sends[0].outcome = .unknown
            history.sends.append(Fixture.send("a", "one", .acknowledged(Fixture.place(1))))
            history.sends.append(Fixture.send("b", "two", session: "ada-2", .acknowledged(Fixture.place(2))))
            history.sends.append(Fixture.send("a", "one", session: "ada-2", .acknowledged(Fixture.place(1))))
        }
    }

    @Test("the same client id with other content, refused, leaves the first as it is")
    func conflict() {
        expectNone { $0.sends.append(Fixture.send("a", "other", .refused(.conflict))) }
    }

    @Test("what was refused and then acknowledged on a later try is in the log")
    func refusedThenSent() {
        expectNone { $0.sends.insert(Fixture.send("b", "two", .refused(.notMember)), at: 1) }
    }

    @Test("two sessions of one account have no order between them")
    func twoSessions() {
        expectNone { history in
            history.sends.swapAt(0, 1)
            history.sends[0].session = "ada-2"
        }
    }

    @Test("a scheduled message is where its time puts it")
    func scheduled() {
        expectNone { history in
            history.sends.swapAt(0, 1)
            history.sends[0].outcome = .scheduled(EntryID(1_002))
        }
    }

    @Test("a reader that did not wait may lack the end, and one that began later the beginning")
    func partial() {
        expectNone { history in
            history.observations[0] = Fixture.observation("ada-1", Fixture.ada, [Fixture.entry(1, "one")], isComplete: false)
            history.observations[1] = Fixture.observation("bob-1", Fixture.bob, [Fixture.entry(2, "two")], from: 2)
        }
    }

    @Test("a member who left and came back misses only what was said meanwhile")
    func membership() throws {
        let bodies = [
            (Fixture.ada, #"{"event":"created","accounts":["2"]}"#), (Fixture.bob, #"{"event":"left","accounts":["2"]}"#),
            (Fixture.ada, #"{"event":"renamed","title":"t"}"#), (Fixture.ada, #"{"event":"joined","accounts":["2"]}"#),
        ]
        let log = bodies.enumerated().map { index, item in
            var entry = Fixture.entry(Seq(index + 1), item.1, by: item.0)
            entry.kind = .system
            return entry
        }
        let visibility = History.visibility(ofGroup: log)
        #expect(visibility == [Fixture.ada: [1...Seq.max], Fixture.bob: [1...2, 4...Seq.max]])
        let history = History(
            observations: [
                Fixture.observation("ada-1", Fixture.ada, log), Fixture.observation("bob-1", Fixture.bob, [log[0], log[1], log[3]]),
            ], logs: [Fixture.talk: log], visibility: [Fixture.talk: visibility])
        #expect(HistoryChecker.violations(in: history) == [])
    }
}
