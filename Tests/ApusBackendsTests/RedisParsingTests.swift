#if Cluster
import ApusCore
import ApusProtocol
import Testing

@testable import ApusBackends

/// The parts of the Redis client that do no I/O.
@Suite("Redis: parsing") struct RedisParsingTests {
    private static func parse(_ text: String, by size: Int = .max, limits: RESPParser.Limits = .init()) throws -> [RESPValue] {
        let parser = RESPParser(limits: limits)
        var replies: [RESPValue] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            try Array(rest.prefix(size)).withUnsafeBytes { try parser.feed($0) }
            rest = rest.dropFirst(size)
            while let reply = try parser.next() { replies.append(reply) }
        }
        return replies
    }

    private static func text(_ text: String) -> RESPValue { .string(Array(text.utf8)) }

    private static let stream =
        "+OK\r\n:42\r\n$5\r\nh\r\nlo\r\n$-1\r\n*-1\r\n*0\r\n-ERR no\r\n*3\r\n:1\r\n*2\r\n$0\r\n\r\n*1\r\n+x\r\n:-7\r\n$4\r\n燕!\r\n"
    private static let replies: [RESPValue] = [
        text("OK"), .integer(42), text("h\r\nlo"), .null, .null, .array([]), .error("ERR no"),
        .array([.integer(1), .array([text(""), .array([text("x")])]), .integer(-7)]), text("燕!"),
    ]

    @Test("A stream of replies reads the same however it is cut into pieces", arguments: [1, 2, 3, 5, 7, 16, 64, 1000])
    func pieces(_ size: Int) throws { #expect(try Self.parse(Self.stream, by: size) == Self.replies) }

    @Test("A long stream in pieces of any size keeps its order, past the parser's own buffers")
    func longStream() throws {
        var generator = Generator(seed: 3)
        let texts = (0..<20_000).map { "of key\($0)" + String(repeating: "x", count: $0 % 500 == 0 ? 20_000 : 0) }
        let stream = Array(texts.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined().utf8)
        let parser = RESPParser()
        var (replies, rest): ([RESPValue], ArraySlice<UInt8>) = ([], stream[...])
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 1...4096, using: &generator))
            try piece.withUnsafeBytes { try parser.feed($0) }
            rest = rest.dropFirst(piece.count)
            while let reply = try parser.next() { replies.append(reply) }
        }
        #expect(replies.count == texts.count)
        #expect(zip(replies, texts).allSatisfy { $0.text == $1 })
    }

    @Test(
        "What no Redis sends ends the connection and takes neither memory nor stack",
        arguments: [
            "hello\r\n", "*2147483647\r\n", "*1048577\r\n", "*99999999999999999999\r\n", "*-2\r\n", "$-2\r\n", "$99999999999999999999\r\n",
            ":12x\r\n", ":99999999999999999999\r\n", ",1.5\r\n", "#t\r\n",
        ])
    func malicious(_ text: String) { #expect(throws: RESPParser.Failure.self) { try Self.parse(text) } }

    @Test("Nor do arrays in arrays", arguments: [8, 100_000])
    func nested(depth: Int) {
        #expect(throws: RESPParser.Failure.self) { try Self.parse(String(repeating: "*1\r\n", count: depth)) }
    }

    @Test("Nor do two large arrays in one")
    func large() {
        let text = "*2\r\n*1000000\r\n" + String(repeating: ":1\r\n", count: 1_000_000) + "*100000\r\n"
        #expect(throws: RESPParser.Failure.self) { try Self.parse(text) }
    }

    @Test("A reply that never ends is refused at the limit, not collected")
    func endless() throws {
        let limits = RESPParser.Limits(bytesMax: 10_000)
        let parser = RESPParser(limits: limits)
        let piece = Array(repeating: UInt8(ascii: "x"), count: 1000)
        #expect(throws: RESPParser.Failure.self) {
            try Array("$9223372036854775807\r\n".utf8).withUnsafeBytes { try parser.feed($0) }
            for _ in 0..<11 {
                try piece.withUnsafeBytes { try parser.feed($0) }
                #expect(try parser.next() == nil)
            }
        }
    }

    @Test("Random bytes never crash the parser")
    func random() {
        var generator = Generator(seed: 7)
        let alphabet = Array("+-:$*_#,(%~>=!0123456789\r\n\r\n\r\nxy".utf8)
        for _ in 0..<5_000 {
            let bytes = (0..<Int.random(in: 1...40, using: &generator)).map { _ in alphabet.randomElement(using: &generator) ?? 0 }
            let parser = RESPParser(limits: .init(bytesMax: 1000, elementsMax: 1000))
            do {
                try bytes.withUnsafeBytes { try parser.feed($0) }
                while try parser.next() != nil {}
            } catch {
                #expect(error is RESPParser.Failure)
            }
        }
    }

    @Test("Hash slots are those of Redis's specification, hash tags included")
    func slots() {
        #expect(RedisHashSlot.of("123456789") == 0x31C3)
        #expect(RedisHashSlot.of("foo") == 12_182)
        #expect(RedisHashSlot.of("{user1000}.following") == RedisHashSlot.of("user1000"))
        #expect(RedisHashSlot.of("foo{{bar}}zap") == RedisHashSlot.of("{bar"))
        #expect(RedisHashSlot.of("foo{bar}{zap}") == RedisHashSlot.of("bar"))
        #expect(RedisHashSlot.of("foo{}{bar}") != RedisHashSlot.of("bar"))
        for slot in [0, 1, 8_191, 16_383] { #expect(RedisHashSlot.of("x" + RedisHashSlot.tag(of: slot)) == slot) }
    }

    @Test("Redirections name the server, also without its host and over IPv6")
    func redirections() {
        let asked = NetworkAddress(host: "10.0.0.1", port: 7000)
        #expect(RedisRedirect(error: "MOVED 3999 10.0.0.2:7001", asked: asked) == .moved(slot: 3999, .init(host: "10.0.0.2", port: 7001)))
        #expect(RedisRedirect(error: "MOVED 1 :7001", asked: asked) == .moved(slot: 1, .init(host: "10.0.0.1", port: 7001)))
        #expect(RedisRedirect(error: "ASK 1 fd00::1:7001", asked: asked) == .ask(.init(host: "fd00::1", port: 7001)))
        #expect(RedisRedirect(error: "NOSCRIPT No matching script", asked: asked) == .sendSource)
        #expect(RedisRedirect(error: "CLUSTERDOWN Hash slot not served", asked: asked) == .tryAgain)
        for text in ["MOVED", "MOVED x 1:2", "MOVED 16384 a:1", "MOVED 1 a:0", "ASK 1 a", "ERR unknown", ""] {
            #expect(RedisRedirect(error: text, asked: asked) == nil)
        }
    }

    @Test("A URL says everything; one that is wrong is refused without its password in the message")
    func urls() throws {
        let plain = try RedisConfiguration(url: "redis://cache")
        #expect(plain == RedisConfiguration(seeds: [.init(host: "cache", port: 6379)]))
        let full = try RedisConfiguration(url: "rediss://anna:p%40s%3As@a:1,b,[::1]:3?cluster=true&ca=/etc/ca.pem")
        #expect(full.seeds == [.init(host: "a", port: 1), .init(host: "b", port: 6379), .init(host: "::1", port: 3)])
        #expect(full.username == "anna" && full.password == "p@s:s" && full.topology == .cluster)
        #expect(full.security == .tls(authority: "/etc/ca.pem", verifies: true))
        #expect(!"\(full)".contains("p@s"))
        let database = try RedisConfiguration(url: "redis://:secret@h:1/3?cluster=false")
        #expect(database.username == nil && database.password == "secret" && database.database == 3 && database.topology == .single)
        for url in [
            "cache", "http://cache", "redis://", "redis://a,,b", "redis://secret@a", "redis://a/x", "redis://a:0", "redis://a:99999",
            "redis://a?ca=x", "redis://a?cluster=maybe", "redis://a?colour=red", "redis://a/1?cluster=true", "redis://a,b?cluster=false",
            "redis://:secret@a/x",
        ] {
            #expect { try RedisConfiguration(url: url) } throws: { error in
                (error as? ApusError)?.code == .invalidArgument && !"\(error)".contains("secret")
            }
        }
    }
}

/// SplitMix64: the same bytes on every run.
private struct Generator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
#endif
