import ApusProtocol
import Foundation
import Testing

@testable import apus

@Suite struct EntryFormatTests {
    private func entry(_ body: String, kind: EntryKind = .text, at: Int64 = 1_767_225_600_000) -> Entry {
        Entry(
            conversation: ConversationID(12), seq: 7, id: EntryID(34), sender: AccountID(56), at: Timestamp(milliseconds: at), kind: kind,
            body: body)
    }

    @Test("The JSON line of a text entry is exactly the documented one")
    func text() {
        #expect(
            JSONLine.entry(entry("hello"))
                == #"{"id":"34","conversation":"12","seq":7,"sender":"56","kind":"text","text":"hello","at":"2026-01-01T00:00:00.000Z"}"#)
    }

    @Test("Other kinds carry their body as JSON, in one line, and as a string when it is no JSON")
    func body() throws {
        let document = JSONLine.entry(entry("{\"a\":\n  [1, \"x\\ny\"]}", kind: .custom))
        #expect(document.contains(#""kind":"custom","body":{"a":   [1, "x\ny"]},"#))
        #expect(!document.contains("\n"))
        #expect(JSONLine.entry(entry("not json", kind: .custom)).contains(#""body":"not json","#))
    }

    @Test(
        "Any text gives one line of JSON that reads back as the same text",
        arguments: ["", "a\"b\\c/d", "line\nline\r\n\u{2028}", "\u{0}\u{1B}[31m\u{7F}\u{85}", "你好 👩‍👩‍👧 é", "{\"a\":1}"])
    func roundTrip(text: String) throws {
        let line = JSONLine.entry(entry(text))
        #expect(line.split(whereSeparator: \.isNewline).count == 1)
        let read = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(read["text"] as? String == text)
        #expect(Set(read.keys) == ["id", "conversation", "seq", "sender", "kind", "text", "at"])
    }

    @Test("Times keep their milliseconds, also before 1970")
    func times() {
        #expect(JSONLine.time(Timestamp(milliseconds: 1_767_225_600_007)) == "2026-01-01T00:00:00.007Z")
        #expect(JSONLine.time(Timestamp(milliseconds: 1_709_251_199_999)) == "2024-02-29T23:59:59.999Z")
        #expect(JSONLine.time(Timestamp(milliseconds: -1)) == "1969-12-31T23:59:59.999Z")
    }

    @Test("An acknowledgement line has the id, conversation and seq; a scheduled one also its time")
    func ack() {
        var ack = AckFrame(
            conversation: ConversationID(1), clientID: "c", id: EntryID(2), seq: 3, at: Timestamp(milliseconds: 0))
        #expect(JSONLine.ack(ack) == #"{"id":"2","conversation":"1","seq":3}"#)
        ack.seq = 0
        ack.deliverAt = Timestamp(milliseconds: 1000)
        #expect(JSONLine.ack(ack) == #"{"id":"2","conversation":"1","seq":0,"deliver_at":"1970-01-01T00:00:01.000Z"}"#)
    }

    @Test("A message cannot move the cursor, colour the terminal or turn the direction of the text")
    func printable() {
        #expect(EntryText.printable("a\u{1B}[2Jb\u{7}\u{9B}\u{202E}\nc") == "a␛[2Jb␇\u{FFFD}\u{FFFD} ⏎ c")
    }

    @Test("A line for people names the sender and the place, and the day when it is another one")
    func people() throws {
        var text = EntryText(catalogue: Catalogue(language: .english))
        text.zone = try #require(TimeZone(secondsFromGMT: 0))
        let entry = entry("hi", at: 1_767_225_660_000)
        let now = Date(timeIntervalSince1970: 1_767_250_000)
        #expect(text.line(entry, sender: "bob", names: { "\($0)" }, now: now) == "00:01 bob: hi")
        let later = Date(timeIntervalSince1970: 1_767_350_000)
        #expect(text.line(entry, sender: "bob", place: "team", names: { "\($0)" }, now: later) == "2026-01-01 00:01 [team] bob: hi")
    }

    @Test("A system entry is a sentence with names, in the chosen language")
    func system() throws {
        let body = String(decoding: try JSONEncoder().encode(SystemEvent(event: .joined, accounts: [AccountID(9)])), as: UTF8.self)
        for (language, sentence) in [(Language.english, "bob added carol"), (.chinese, "bob 邀请 carol 加入了群组")] {
            let line = EntryText(catalogue: Catalogue(language: language)).line(
                entry(body, kind: .system), sender: "bob", names: { $0 == AccountID(9) ? "carol" : "?" })
            #expect(line.hasSuffix(sentence))
        }
    }

    @Test("The language comes from the first of LC_ALL, LC_MESSAGES and LANG that is set")
    func language() {
        #expect(Language(environment: ["LANG": "zh_CN.UTF-8"]) == .chinese)
        #expect(Language(environment: ["LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"]) == .english)
        #expect(Language(environment: ["LANG": "zh_CN.UTF-8", "LC_ALL": ""]) == .chinese)
        #expect(Language(environment: [:]) == .english)
    }
}
