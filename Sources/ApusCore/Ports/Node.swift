/// What a process does. A process may have several roles; all of them is the single node.
public enum Role: String, Sendable, Hashable, Codable, CaseIterable, Comparable {
    case gateway, auth, user, web, socket

    public static func < (left: Role, right: Role) -> Bool { left.rawValue < right.rawValue }
}

/// One life of a node: what was said by or about an earlier life of the same number does not concern this one.
public struct NodeID: Sendable, Hashable, Codable, CustomStringConvertible {
    /// 0 to 1,023, leased: no two running nodes have the same. Part of every id that the node gives out.
    public var number: UInt16
    /// Counts the lives of this number.
    public var epoch: UInt64

    public init(number: UInt16, epoch: UInt64) {
        self.number = number
        self.epoch = epoch
    }

    /// `number.epoch`.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let number = UInt16(parts[0]), number < 1024, let epoch = UInt64(parts[1]) else { return nil }
        self.init(number: number, epoch: epoch)
    }

    public var description: String { "\(number).\(epoch)" }
}

/// What a node tells the others about itself.
public struct NodeInfo: Sendable, Hashable, Codable {
    public var id: NodeID
    public var roles: Set<Role>
    /// Where the HTTP API of its roles can be reached by other nodes.
    public var http: NetworkAddress?
    /// Where clients and load balancers reach a gateway. Other nodes do not call it; who looks into the registry finds it.
    public var gateway: NetworkAddress?
    /// Where clients connect, of a socket node.
    public var socketURL: String?
    public var tcp: NetworkAddress?
    /// Whether `tcp` is to be spoken to inside TLS; of `socketURL` its scheme says so. Missing is no.
    public var isTCPEncrypted: Bool
    /// Where other nodes hand over, of a socket node.
    public var peer: NetworkAddress?
    /// Sessions it holds, of a socket node; requests under way, of the others. A hint, some seconds old.
    public var load: Int
    /// The share that it takes, relative to others of its role; 0: none, it drains.
    public var weight: Int
    /// The program's version.
    public var version: String

    public init(
        id: NodeID, roles: Set<Role>, http: NetworkAddress? = nil, gateway: NetworkAddress? = nil, socketURL: String? = nil,
        tcp: NetworkAddress? = nil, isTCPEncrypted: Bool = false, peer: NetworkAddress? = nil, load: Int = 0, weight: Int = 100,
        version: String
    ) {
        self.id = id
        self.roles = roles
        self.http = http
        self.gateway = gateway
        self.socketURL = socketURL
        self.tcp = tcp
        self.isTCPEncrypted = isTCPEncrypted
        self.peer = peer
        self.load = load
        self.weight = weight
        self.version = version
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        id = try container.decode(NodeID.self, forKey: .id)
        roles = try container.decode(Set<Role>.self, forKey: .roles)
        http = try container.decodeIfPresent(NetworkAddress.self, forKey: .http)
        gateway = try container.decodeIfPresent(NetworkAddress.self, forKey: .gateway)
        socketURL = try container.decodeIfPresent(String.self, forKey: .socketURL)
        tcp = try container.decodeIfPresent(NetworkAddress.self, forKey: .tcp)
        // Nodes of the version before do not say it.
        isTCPEncrypted = try container.decodeIfPresent(Bool.self, forKey: .isTCPEncrypted) ?? false
        peer = try container.decodeIfPresent(NetworkAddress.self, forKey: .peer)
        load = try container.decode(Int.self, forKey: .load)
        weight = try container.decode(Int.self, forKey: .weight)
        version = try container.decode(String.self, forKey: .version)
    }
}
