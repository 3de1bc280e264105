extension ConfigurationKey {
    static let encryption: [ConfigurationKey] = [
        .text(
            "tls.certificate", \.tls.certificate, placeholder: "FILE", permitted: "a PEM file, or empty",
            "The certificate of the listeners that clients use, and those that vouch for it: they speak TLS then. Read anew when it changes."
        ) { _ in true },
        .text("tls.key", \.tls.key, placeholder: "FILE", permitted: "a PEM file, or empty", "The key of that certificate.") { _ in true },
    ]

    /// How the nodes of a cluster speak to each other.
    static let betweenNodes: [ConfigurationKey] = [
        .text(
            "cluster.relay", \.cluster.relay, placeholder: "RELAY",
            permitted: "peer, or nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…], tls:// for TLS", isSecret: true,
            "What hands messages over to other socket nodes: direct links, or a NATS server. The same on all nodes."
        ) { $0 == ServerConfiguration.ClusterSettings.peerRelay || $0.hasPrefix("nats://") || $0.hasPrefix("tls://") },
        .text(
            "cluster.certificate", \.cluster.certificate, placeholder: "FILE", permitted: "a PEM file, or empty",
            "By it this node shows the others that it is one: all traffic between nodes is TLS then. Read anew when it changes."
        ) { _ in true },
        .text("cluster.key", \.cluster.key, placeholder: "FILE", permitted: "a PEM file, or empty", "The key of that certificate.") { _ in
            true
        },
        .text(
            "cluster.authority", \.cluster.authority, placeholder: "FILE", permitted: "a PEM file, or empty",
            "The authority of the certificates of all nodes, which vouches for nobody else."
        ) { _ in true },
    ]
}

extension ServerConfiguration {
    var tlsContradictions: [String] {
        var problems: [String] = []
        if tls.certificate.isEmpty != tls.key.isEmpty {
            problems.append("tls.certificate and tls.key: both are set, or none is")
        }
        let between = [cluster.certificate, cluster.key, cluster.authority]
        if Set(between.map(\.isEmpty)).count > 1 {
            problems.append("cluster.certificate, cluster.key and cluster.authority: all three are set, or none is")
        }
        if !isCluster, cluster.isEncrypted || cluster.relay != ClusterSettings.peerRelay {
            problems.append("cluster.certificate, cluster.key, cluster.authority and cluster.relay are for the nodes of a cluster")
        }
        return problems
    }
}
