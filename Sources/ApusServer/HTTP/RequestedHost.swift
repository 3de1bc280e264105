import ApusProtocol
import Hummingbird

/// The host under which a client reached the API, from its `Host` header. It goes into URLs that are sent back, so nothing
/// but a host name or an address is let through.
struct RequestedHost: Equatable {
    /// Without brackets.
    var name: String
    var port: Int?

    /// Nil for what is no `host` or `host:port`.
    init?(_ authority: String) {
        let rest: Substring
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            name = String(authority[authority.index(after: authority.startIndex)..<end])
            rest = authority[authority.index(after: end)...]
            guard !name.isEmpty, name.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return nil }
        } else {
            let end = authority.firstIndex(of: ":") ?? authority.endIndex
            name = String(authority[..<end])
            rest = authority[end...]
            guard (1...253).contains(name.utf8.count), name.utf8.allSatisfy(Self.isNameByte) else { return nil }
        }
        if rest.isEmpty { return }
        guard rest.hasPrefix(":"), let number = UInt16(rest.dropFirst()) else { return nil }
        port = Int(number)
    }

    /// As it stands in a URL.
    var authority: String {
        let host = name.contains(":") ? "[\(name)]" : name
        return port.map { "\(host):\($0)" } ?? host
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x2D || byte == 0x2E
            || byte == 0x5F
    }
}

extension Request {
    var requestedHost: RequestedHost? { head.authority.flatMap(RequestedHost.init) }
}
