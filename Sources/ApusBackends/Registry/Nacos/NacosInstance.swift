import ApusCore
import ApusProtocol
import Foundation

/// A node as Nacos knows it.
struct NacosInstance {
    /// What an ephemeral instance is known by: no two nodes may have the same.
    struct Key: Hashable {
        var ip: String
        var port: Int
        var groupedService: String
        var namespace: String
        var cluster: String

        var parameters: [(String, String)] {
            [
                ("serviceName", groupedService), ("namespaceId", namespace), ("clusterName", cluster), ("ip", ip), ("port", String(port)),
                ("ephemeral", "true"),
            ]
        }
    }

    var node: NodeInfo
    var key: Key
    /// What others read of this node.
    var nodeText: String
    private var metadata: String

    private static let nodeKey = "node"
    /// `ParamCheckRule.maxMetadataLength`: of all keys and values together.
    private static let metadataCharactersMax = 1_024

    /// - Throws: ``ApusError`` `invalid_argument` for a node that Nacos cannot have.
    init(_ node: NodeInfo, _ configuration: NacosConfiguration) throws {
        guard let address = node.http ?? node.peer ?? node.tcp ?? node.gateway else {
            throw ApusError(.invalidArgument, "a node without any address cannot be registered with Nacos")
        }
        self.node = node
        key = Key(
            ip: address.host, port: address.port, groupedService: configuration.groupedService, namespace: configuration.namingNamespace,
            cluster: configuration.cluster)
        nodeText = String(decoding: try Self.encoder.encode(node), as: UTF8.self)
        let timeout = configuration.beatTimeout.milliseconds
        let values = [
            // `api/…/api/naming/PreservedMetadataKeys.java`: how Nacos is told when to give this instance up.
            "preserved.heart.beat.interval": String(configuration.beatInterval.milliseconds),
            "preserved.heart.beat.timeout": String(timeout),
            "preserved.ip.delete.timeout": String(timeout * 2),
            Self.nodeKey: nodeText,
        ]
        let length = values.reduce(0) { $0 + $1.key.utf16.count + $1.value.utf16.count }
        guard length <= Self.metadataCharactersMax else {
            throw ApusError(
                .invalidArgument, "what this node says of itself takes \(length) characters, Nacos keeps \(Self.metadataCharactersMax)")
        }
        metadata = String(decoding: try Self.encoder.encode(values), as: UTF8.self)
    }

    /// Of a registration. The weight of the node is in the metadata; to Nacos all are alike, or one that drains would be hidden.
    func parameters(weight: Double = 1) -> [(String, String)] {
        key.parameters + [("healthy", "true"), ("enabled", "true"), ("weight", String(weight)), ("metadata", metadata)]
    }

    /// An instance as the list has it.
    struct Listed: Decodable {
        var ip: String
        var port: Int
        var weight: Double?
        var metadata: [String: String]?

        var nodeText: String? { metadata?[nodeKey] }

        /// Nil for an instance that is no node of this version.
        var node: NodeInfo? { nodeText.flatMap { try? JSONDecoder().decode(NodeInfo.self, from: Data($0.utf8)) } }
    }

    private static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}

extension NacosConfiguration {
    /// As `InstanceController` demands it (`NamingUtils.checkServiceNameFormat`).
    var groupedService: String { "\(group)@@\(service)" }

    /// The naming API calls the default namespace `public` (`Constants.DEFAULT_NAMESPACE_ID`), the configuration API calls it nothing.
    var namingNamespace: String { namespace.isEmpty ? "public" : namespace }
}
