import ApusProtocol
import Crypto
import Foundation

/// Makes and checks signed URLs of a store that cannot check signatures itself: the HTTP side serves them, under `prefix`, and asks this
/// value what a request may do. All nodes that serve them share the key.
public struct ObjectURLSigner: Sendable {
    public static let keyBytesMin = 32

    /// A URL that was checked.
    public struct Permit: Sendable, Hashable {
        public var key: ObjectKey
        public var access: ObjectAccess

        public init(key: ObjectKey, access: ObjectAccess) {
            self.key = key
            self.access = access
        }
    }

    private let key: SymmetricKey
    private let prefix: String

    /// - Parameters:
    ///   - secret: at least 32 bytes, random.
    ///   - prefix: what stands before the object's key in a URL: `https://chat.example.com/v1/objects/`.
    /// - Throws: ``ApusError`` `invalid_argument` when the secret is too short.
    public init(secret: [UInt8], prefix: String) throws {
        guard secret.count >= Self.keyBytesMin else {
            throw ApusError(.invalidArgument, "the secret of signed URLs has less than \(Self.keyBytesMin) bytes")
        }
        key = SymmetricKey(data: secret)
        self.prefix = prefix.hasSuffix("/") ? prefix : prefix + "/"
    }

    public func url(for access: ObjectAccess, of object: ObjectKey, expiresAt: Timestamp) -> String {
        let signature = HMAC<SHA256>.authenticationCode(for: Data(Self.text(access, object, expiresAt).utf8), using: key).hex
        let fields = Self.fields(access).map { "\($0)=\(Self.escape($1))&" }.joined()
        return "\(prefix)\(object)?\(fields)expires=\(expiresAt.milliseconds)&signature=\(signature)"
    }

    /// What a request with a signed URL may do. A `put` allows exactly the type and the size in its permit: compare the header fields.
    /// - Parameters:
    ///   - method: `GET`, `HEAD` (allowed by a URL for `GET`) or `PUT`.
    ///   - object: the rest of the path, after the prefix.
    ///   - query: the parameters, decoded.
    /// - Throws: ``ApusError`` `forbidden` when the URL is not one of ours, was changed, or is too old.
    public func check(method: String, object: String, query: [String: String], now: Timestamp) throws -> Permit {
        guard let permit = Self.permit(method, object, query), let time = query["expires"].flatMap({ Int64($0) }),
            let signature = query["signature"].flatMap(ObjectChecksum.init)
        else { throw ApusError(.forbidden, "this is no signed URL for \(method)") }
        let expiresAt = Timestamp(milliseconds: time)
        let text = Data(Self.text(permit.access, permit.key, expiresAt).utf8)
        // Compares in constant time.
        guard HMAC<SHA256>.isValidAuthenticationCode(signature.bytes, authenticating: text, using: key) else {
            throw ApusError(.forbidden, "the signature of this URL is wrong")
        }
        guard now < expiresAt else { throw ApusError(.forbidden, "this URL has expired") }
        return permit
    }

    private static func permit(_ method: String, _ object: String, _ query: [String: String]) -> Permit? {
        guard let key = ObjectKey(object) else { return nil }
        switch method {
        case "GET", "HEAD": return Permit(key: key, access: .get)
        case "PUT":
            guard let type = query["type"], let size = query["size"].flatMap({ Int64($0) }) else { return nil }
            return Permit(key: key, access: .put(type: type, size: size))
        default: return nil
        }
    }

    private static func fields(_ access: ObjectAccess) -> [(String, String)] {
        switch access {
        case .get: []
        case .put(let type, let size): [("type", type), ("size", String(size))]
        }
    }

    /// What is signed. The parts cannot run into each other: neither a key nor a checked type has a line break.
    private static func text(_ access: ObjectAccess, _ object: ObjectKey, _ expiresAt: Timestamp) -> String {
        let verb =
            switch access {
            case .get: "get"
            case .put(let type, let size): "put\n\(size)\n\(type)"
            }
        return "apus-object-1\n\(expiresAt.milliseconds)\n\(object)\n\(verb)"
    }

    private static func escape(_ text: String) -> String {
        var allowed = CharacterSet()
        allowed.insert(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
        return text.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
    }
}
