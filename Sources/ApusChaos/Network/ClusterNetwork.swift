import Foundation

/// A network in this process's namespace: a bridge with the servers and clients on it, and for each node a namespace with an address of
/// its own, whose traffic can be dropped. All of it is gone with this process.
public actor ClusterNetwork {
    /// Where a node lives.
    public struct Place: Sendable {
        public var address: String
        /// A program and its arguments; what follows them is run there.
        public var launcher: [String]
        fileprivate var number: Int
    }

    /// What a node cannot reach, and what cannot reach it: nothing comes back, not even a refusal.
    public enum Cut: String, CaseIterable, Sendable {
        case everything, clients, peers, store
        case redisAndRegistry = "Redis and the registry"
    }

    public enum Direction: String, CaseIterable, Sendable {
        case bothWays = "both ways"
        case incoming = "what comes in"
        case outgoing = "what goes out"
    }

    /// Ports of the servers.
    public struct ServerPorts: Sendable {
        public var store: Int
        public var redis: Int
        public var registry: Int
        /// Of a broker, where there is one.
        public var relay: Int
    }

    /// Of the servers, and of the clients in this process.
    public nonisolated let hub = "10.77.0.1"
    private static let subnet = "10.77.0"
    private static let bridge = "apus0"
    private static let nodesMax = 200

    private let ports: ServerPorts
    /// Each keeps a namespace alive while its node is down.
    private var holders: [ChildProcess] = []

    /// - Throws: ``ServerProcessError`` when this process has no namespace of its own, or has such a network already.
    public init(_ ports: ServerPorts) async throws {
        guard NetworkNamespace.isEntered else { throw ServerProcessError("no network is built in the machine's namespace") }
        self.ports = ports
        let steps = [
            "link add \(Self.bridge) type bridge", "addr add \(hub)/24 dev \(Self.bridge)", "link set \(Self.bridge) up",
        ]
        for step in steps { try await NetworkNamespace.run("ip", step.split(separator: " ").map(String.init)) }
    }

    /// A place for one more node.
    public func addNode() async throws -> Place {
        let number = holders.count
        guard number < Self.nodesMax else { throw ServerProcessError("at most \(Self.nodesMax) nodes have a place in the network") }
        let address = "\(Self.subnet).\(number + 2)"
        let holder = try ChildProcess(
            binary: try Command.locate("unshare"),
            arguments: ["--net", "/bin/sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"],
            environment: ProcessInfo.processInfo.environment, log: ProcessLog())
        holders.append(holder)
        _ = try await holder.firstLine.get(by: .now + .seconds(30))
        let place = Place(address: address, launcher: Self.launcher(of: holder), number: number)
        try await NetworkNamespace.run(
            "ip", ["link", "add", "node\(number)", "type", "veth", "peer", "name", "eth0", "netns", "\(holder.id)"])
        try await NetworkNamespace.run("ip", ["link", "set", "node\(number)", "master", Self.bridge, "up"])
        try await run(["ip", "addr", "add", "\(address)/24", "dev", "eth0"], at: place)
        try await run(["ip", "link", "set", "eth0", "up"], at: place)
        return place
    }

    /// From here on, until ``heal(_:)``.
    public func cut(_ what: Cut, _ direction: Direction, at place: Place) async throws {
        let (incoming, outgoing) = Self.rules(what, hub: hub, ports: ports)
        let input = direction == .outgoing ? [] : incoming
        let output = direction == .incoming ? [] : outgoing
        // Packets of the loopback are not between machines.
        let rules = """
            add table ip apus
            add chain ip apus input { type filter hook input priority 0; }
            add chain ip apus output { type filter hook output priority 0; }
            add rule ip apus input iifname "lo" accept
            add rule ip apus output oifname "lo" accept
            \((input.map { "add rule ip apus input \($0) drop" } + output.map { "add rule ip apus output \($0) drop" })
                .joined(separator: "\n"))
            """
        let file = FileManager.default.temporaryDirectory.appending(path: "apus-cut-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(rules.utf8).write(to: file)
        try await run(["nft", "-f", file.path], at: place)
    }

    public func heal(_ place: Place) async throws { try await run(["nft", "delete", "table", "ip", "apus"], at: place) }

    /// Ends all places. The bridge ends with this process.
    func end() async {
        for holder in holders {
            holder.send(signal: SIGKILL)
            _ = try? await holder.exit.get()
        }
        holders = []
    }

    private static func launcher(of holder: ChildProcess) -> [String] { ["nsenter", "--net=/proc/\(holder.id)/ns/net"] }

    private func run(_ command: [String], at place: Place) async throws {
        try await NetworkNamespace.run(place.launcher[0], place.launcher.dropFirst() + command)
    }

    /// What to drop of what comes in and of what goes out, as nftables says it.
    private static func rules(_ what: Cut, hub: String, ports: ServerPorts) -> (incoming: [String], outgoing: [String]) {
        func servers(_ ports: [Int], not: Bool = false) -> (incoming: [String], outgoing: [String]) {
            let set = (not ? "!= " : "") + "{ \(ports.map(String.init).joined(separator: ", ")) }"
            return (["ip saddr \(hub) tcp sport \(set)"], ["ip daddr \(hub) tcp dport \(set)"])
        }
        switch what {
        case .everything: return (["ip saddr \(subnet).0/24"], ["ip daddr \(subnet).0/24"])
        case .peers:
            let others = "\(subnet).2-\(subnet).254"
            return (["ip saddr \(others)"], ["ip daddr \(others)"])
        // They are beside the servers.
        case .clients: return servers([ports.store, ports.redis, ports.registry, ports.relay], not: true)
        case .store: return servers([ports.store])
        case .redisAndRegistry: return servers([ports.redis, ports.registry])
        }
    }
}
