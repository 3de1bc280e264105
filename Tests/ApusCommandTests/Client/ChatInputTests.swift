import Foundation
import Testing

@testable import apus

@Suite struct ChatInputTests {
    @Test(
        "Commands are read with their arguments",
        arguments: [
            (":q!", ChatInput.quit), (":all", .help), (":olu", .online), (":info", .info), (":ls", .list), (":members", .members),
            (":leave", .leave), (":q 你好 bob", .search("你好 bob")), (":pu al", .users(prefix: "al")), (":open  bob ", .open("bob")),
            (":emoji", .emoji(page: 1)), (":emoji 3", .emoji(page: 3)), (":history", .history(20)), (":history 5", .history(5)),
            (":delay 2.5 see  you", .delay(seconds: 2.5, text: "see  you")), (":invite bob carol", .invite(["bob", "carol"])),
            (":rename The new title", .rename("The new title")), (":group team", .createGroup(title: "team", members: [])),
            (":group \"my team\" bob carol", .createGroup(title: "my team", members: ["bob", "carol"])),
        ])
    func commands(line: String, input: ChatInput) {
        #expect(ChatInput(line: line) == input)
    }

    @Test("What is no command is a message, without the spaces around it", arguments: ["hello", "  a : b ", "what? :q!"])
    func messages(line: String) {
        #expect(ChatInput(line: line) == .message(line.trimmingCharacters(in: .whitespaces)))
    }

    @Test("A message may begin with a colon, doubled, or with the name of an emoji")
    func colons() {
        #expect(ChatInput(line: "::q!") == .message(":q!"))
        #expect(ChatInput(line: ":smile: hi") == .message(":smile: hi"))
        #expect(ChatInput(line: ":)") == .unknown(":)"))
    }

    @Test("An empty line does nothing", arguments: ["", "   ", "\t"])
    func nothing(line: String) {
        #expect(ChatInput(line: line) == .nothing)
    }

    @Test(
        "A command with missing or wrong arguments says how it is used and sends nothing",
        arguments: [
            ":q", ":pu", ":open", ":delay 5", ":delay x hi", ":delay -1 hi", ":emoji x", ":history 0", ":group", ":rename", ":invite ",
        ])
    func incomplete(line: String) {
        guard case .incomplete(let usage) = ChatInput(line: line) else {
            Issue.record("\(line) was taken for \(ChatInput(line: line))")
            return
        }
        #expect(usage.hasPrefix(":"))
    }

    @Test("A mistyped command is not sent as a message")
    func unknown() {
        #expect(ChatInput(line: ":opne bob") == .unknown(":opne"))
    }

    @Test("Names of emoji become emoji and everything else between colons stays")
    func emoji() {
        #expect(Emoji.expand("a :smile: b:heart::heart: 10:30:45 :nope: :") == "a 😄 b❤️❤️ 10:30:45 :nope: :")
        #expect((1...Emoji.pageCount).map { Emoji.page($0).count }.reduce(0, +) == Emoji.all.count)
        #expect(Emoji.page(Emoji.pageCount + 1).isEmpty)
    }
}
