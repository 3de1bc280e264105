import NIOCore

/// An IPv4 or IPv6 address.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    /// 4 or 16 bytes, the first one first. An IPv4 address mapped into IPv6 is an IPv4 address.
    let bytes: [UInt8]

    public init?(_ text: some StringProtocol) {
        // No scope: it means nothing to anybody else.
        guard !text.contains("%"), let address = try? SocketAddress(ipAddress: String(text), port: 0) else { return nil }
        self.init(address)
    }

    init?(_ address: SocketAddress) {
        switch address {
        case .v4(let address): bytes = withUnsafeBytes(of: address.address.sin_addr) { Array($0) }
        case .v6(let address):
            let all = withUnsafeBytes(of: address.address.sin6_addr) { Array($0) }
            let isMapped = all.prefix(10).allSatisfy { $0 == 0 } && all[10...11] == [0xFF, 0xFF]
            bytes = isMapped ? Array(all.suffix(4)) : all
        case .unixDomainSocket: return nil
        }
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// What one customer has: the address, or the /64 network of an IPv6 address, of which a home has all.
    var customer: IPAddress { bytes.count == 4 ? self : IPAddress(bytes: bytes.prefix(8) + Array(repeating: 0, count: 8)) }

    public var description: String {
        guard bytes.count == 16 else { return bytes.map(String.init).joined(separator: ".") }
        return (try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: 0).ipAddress) ?? ""
    }

    /// The client behind trusted proxies. Each proxy adds the address that it sees on the right, so whatever is left of the
    /// first one that is not trusted may be invented.
    /// - Parameter fields: the `X-Forwarded-For` fields of a request that came from this address.
    func client(forwardedFor fields: [String], trusting proxies: ProxyTrust) -> IPAddress {
        var client = self
        for entry in fields.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }).reversed() {
            guard proxies.includes(client), let next = IPAddress(entry.trimmingSpaces) else { break }
            client = next
        }
        return client
    }
}

/// The addresses that begin with the same bits, written like `10.0.0.0/8`, or one address.
public struct AddressRange: Hashable, Sendable, CustomStringConvertible {
    private let start: IPAddress
    private let bits: Int

    /// Nil for what is no address and no range.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let start = IPAddress(parts[0]) else { return nil }
        let all = start.bytes.count * 8
        guard let bits = parts.count == 2 ? UInt8(parts[1]).map(Int.init) : all, bits <= all else { return nil }
        self.start = start
        self.bits = bits
    }

    public func contains(_ address: IPAddress) -> Bool {
        guard address.bytes.count == start.bytes.count else { return false }
        let (whole, rest) = (bits / 8, bits % 8)
        guard address.bytes.prefix(whole) == start.bytes.prefix(whole) else { return false }
        return rest == 0 || (address.bytes[whole] ^ start.bytes[whole]) >> (8 - rest) == 0
    }

    public var description: String { "\(start)/\(bits)" }
}

extension StringProtocol {
    /// Without the blanks around it that header fields may have.
    var trimmingSpaces: SubSequence {
        guard let first = firstIndex(where: { !" \t".contains($0) }), let last = lastIndex(where: { !" \t".contains($0) }) else {
            return self[startIndex..<startIndex]
        }
        return self[first...last]
    }
}
