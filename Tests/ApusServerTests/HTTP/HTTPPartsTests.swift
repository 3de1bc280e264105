import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers
import Testing

@testable import ApusServer

@Suite("HTTP: parts")
struct HTTPPartsTests {
    @Test("base64url goes both ways for every length, and takes nothing else")
    func base64URL() {
        for count in 0..<40 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 67 &+ 251) }
            let text = Base64URL.encode(bytes)
            #expect(text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
            #expect(Base64URL.decode(text) == bytes)
        }
        for text in ["A", "AA==", "+/8", "A A", "é"] { #expect(Base64URL.decode(text) == nil) }
    }

    @Test("A form is decoded, its empty fields count as absent, and what is ambiguous is refused")
    func form() throws {
        let form = try FormParameters("a=1+2%2B&b=&c=%C3%A9&d&&e=x%3Dy=z")
        #expect((form["a"], form["b"], form["c"], form["d"], form["e"]) == ("1 2+", nil, "é", nil, "x=y=z"))
        let many = (0...FormParameters.fieldsMax).map { "f\($0)=1" }.joined(separator: "&")
        for text in ["a=1&a=2", "a=%G1", "a=%", "a=%FF", many] {
            #expect { try FormParameters(text) } throws: { ($0 as? ApusError)?.code == .malformed }
        }
    }

    @Test(
        "A Host header is taken apart, and what is none is refused",
        arguments: [
            ("example.com", "example.com", nil), ("example.com:80", "example.com", 80), ("[::1]:8080", "::1", 8080), ("[::1]", "::1", nil),
            ("127.0.0.1:1", "127.0.0.1", 1),
        ] as [(String, String, Int?)])
    func host(text: String, name: String, port: Int?) throws {
        let host = try #require(RequestedHost(text))
        #expect((host.name, host.port, host.authority) == (name, port, text))
    }

    @Test(
        "What is no Host header gives no URL",
        arguments: ["", ":80", "a/b", "a b", "a@b", "a:b", "a:99999", "a:80:80", "::1", "[::1", "[]", "[x]", "[::1]x", "a\"b", "é"])
    func badHost(text: String) {
        #expect(RequestedHost(text) == nil)
    }

    @Test("A client needs a name without colons and a secret that cannot be guessed")
    func clients() throws {
        _ = try OAuthClient(id: "gateway", secret: "0123456789abcdef", scopes: [])
        for (id, secret) in [
            ("", "0123456789abcdef"), ("a b", "0123456789abcdef"), ("a:b", "0123456789abcdef"), ("apus", "0123456789abcdef"),
            ("a", "short"),
        ] {
            #expect { try OAuthClient(id: id, secret: secret, scopes: []) } throws: { ($0 as? ApusError)?.code == .invalidArgument }
        }
    }

    @Test("Every code of the protocol has a status of its own kind")
    func statuses() {
        #expect(Problems.status(of: .unauthenticated).code == 401)
        #expect(Problems.status(of: .tooLarge).code == 413)
        #expect(Problems.status(of: ErrorCode(rawValue: "of a later version")).code == 500)
        for code in [ErrorCode.overloaded, .storeUnavailable, .unavailable, .shuttingDown] {
            #expect(Problems.status(of: code).code == 503)
            #expect(code.isRetryable)
        }
    }
}

@Suite("HTTP: one at a time per key")
struct HTTPKeyedLockTests {
    @Test("Holders of one key exclude each other; another key does not wait")
    func exclusion() async throws {
        let lock = KeyedLock<Int>(waitersMax: 100)
        let inside = NIOLockedValueBox((now: 0, most: 0))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await lock.withLock(1) {
                        inside.withLockedValue { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
                        await Task.yield()
                        inside.withLockedValue { $0.now -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(inside.withLockedValue { $0.most } == 1)
        try await lock.withLock(1) { try await lock.withLock(2) {} }
    }

    @Test("A waiter that is cancelled leaves the queue, and an error inside frees the key")
    func cancellation() async throws {
        struct Failure: Error {}
        let lock = KeyedLock<Int>(waitersMax: 2)
        try await lock.withLock(1) {
            let waiter = Task { try await lock.withLock(1) { true } }
            waiter.cancel()
            await #expect(throws: CancellationError.self) { try await waiter.value }
        }
        await #expect(throws: Failure.self) { try await lock.withLock(1) { () throws -> Void in throw Failure() } }
        #expect(try await lock.withLock(1) { true })
    }

    @Test("More waiters than allowed are refused as overloaded")
    func bound() async throws {
        let lock = KeyedLock<Int>(waitersMax: 0)
        try await lock.withLock(1) {
            await #expect { try await lock.withLock(1) { true } } throws: { ($0 as? ApusError)?.code == .overloaded }
            return
        }
    }
}
