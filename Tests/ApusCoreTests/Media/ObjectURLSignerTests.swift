import ApusCore
import ApusProtocol
import Foundation
import Testing

@Suite("Signed URLs of objects")
struct ObjectURLSignerTests {
    private static let now = Timestamp(milliseconds: 1_800_000_000_000)
    private static let key: ObjectKey = {
        guard let key = ObjectKey("media/07/42") else { preconditionFailure("that is a key") }
        return key
    }()

    private static func signer(_ byte: UInt8 = 1) throws -> ObjectURLSigner {
        try ObjectURLSigner(secret: Array(repeating: byte, count: 32), prefix: "https://host/v1/objects/")
    }

    /// As an HTTP server would take it apart.
    private static func query(_ url: String) throws -> [String: String] {
        let parts = try #require(URLComponents(string: url))
        #expect(parts.path == "/v1/objects/media/07/42")
        return Dictionary(uniqueKeysWithValues: (parts.queryItems ?? []).map { ($0.name, $0.value ?? "") })
    }

    @Test("a URL allows what it was made for, until it expires")
    func permits() throws {
        let signer = try Self.signer()
        let put = ObjectAccess.put(type: "text/plain; charset=\"utf-8\" & more=a+b%", size: 1_000_000)
        for (access, methods) in [(ObjectAccess.get, ["GET", "HEAD"]), (put, ["PUT"])] {
            let query = try Self.query(signer.url(for: access, of: Self.key, expiresAt: Self.now + .seconds(60)))
            for method in methods {
                for time in [Self.now, Self.now + .milliseconds(59_999)] {
                    let permit = try signer.check(method: method, object: "media/07/42", query: query, now: time)
                    #expect(permit == .init(key: Self.key, access: access))
                }
                #expect(throws: ApusError.self) {
                    try signer.check(method: method, object: "media/07/42", query: query, now: Self.now + .seconds(60))
                }
            }
        }
    }

    @Test("a URL that was changed in any part, or is another server's, is refused")
    func changes() throws {
        let signer = try Self.signer()
        let access = ObjectAccess.put(type: "image/png", size: 100)
        let query = try Self.query(signer.url(for: access, of: Self.key, expiresAt: Self.now + .seconds(60)))
        func refused(_ method: String = "PUT", _ object: String = "media/07/42", _ changes: [String: String] = [:], without: String? = nil)
        {
            var changed = query
            changed.merge(changes) { $1 }
            if let without { changed[without] = nil }
            let error = #expect(throws: ApusError.self, "\(method) \(object) \(changes)") {
                try signer.check(method: method, object: object, query: changed, now: Self.now)
            }
            #expect(error?.code == .forbidden)
        }
        for method in ["GET", "HEAD", "DELETE", "put"] { refused(method) }
        for object in ["media/07/43", "media/07", "", "../media/07/42"] { refused("PUT", object) }
        for name in query.keys { refused(without: name) }
        let signature = try #require(query["signature"])
        let flipped = (signature.hasPrefix("0") ? "1" : "0") + signature.dropFirst()
        for change in [
            ["type": "text/html"], ["size": "101"], ["expires": "1800000061000"], ["signature": flipped],
            ["signature": "00"], ["signature": ""], ["type": "image/png\n100"],
        ] {
            refused("PUT", "media/07/42", change)
        }
        #expect(throws: ApusError.self) {
            try Self.signer(2).check(method: "PUT", object: "media/07/42", query: query, now: Self.now)
        }
    }

    @Test("a URL for reading is none for writing, whatever is added to it")
    func kinds() throws {
        let signer = try Self.signer()
        var query = try Self.query(signer.url(for: .get, of: Self.key, expiresAt: Self.now + .seconds(60)))
        query["type"] = "image/png"
        query["size"] = "1"
        #expect(throws: ApusError.self) { try signer.check(method: "PUT", object: "media/07/42", query: query, now: Self.now) }
    }

    @Test("a short secret is refused")
    func shortSecret() {
        #expect(throws: ApusError.self) { try ObjectURLSigner(secret: Array(repeating: 1, count: 31), prefix: "/") }
    }
}
