#if Cluster
import ApusCore
import ApusProtocol

extension NATSRelay {
    /// How to reach NATS, and how much waits for it.
    public struct Configuration: Sendable {
        /// PEM files. What a server that wants to see a certificate is shown, and whom its own is checked against.
        public struct Identity: Sendable, Hashable {
            public var certificate: String
            public var key: String
            public var authority: String

            public init(certificate: String, key: String, authority: String) {
                self.certificate = certificate
                self.key = key
                self.authority = authority
            }
        }

        /// Of the servers of one NATS cluster, each like `nats://user:password@host:port`.
        public var servers: [String]
        /// For `tls://`; nil: the system's authorities, and nothing is shown.
        public var identity: Identity?
        /// Of all subjects; two clusters of Apus on one broker have two.
        public var subjectPrefix = "apus.relay"
        /// About as many bytes may wait to be published, and again as many for a broker that is away.
        public var bufferBytesMax = 16 << 20
        /// About as much goes into one message of the broker, whose own limit is 1 MiB.
        public var batchBytesMax = 256 << 10

        /// `nats://[user:password@]host:port[,host:port …]`, the same user on all of them; `tls` is TLS.
        /// - Throws: ``ApusError`` `invalid_argument`, without the password in it.
        public init(url: String) throws {
            guard let end = url.range(of: "://"), ["nats", "tls"].contains(url[..<end.lowerBound]) else {
                throw Self.invalid("the scheme is nats or tls")
            }
            let (scheme, rest) = (url[..<end.upperBound], url[end.upperBound...])
            let hosts = rest.lastIndex(of: "@").map { rest[rest.index(after: $0)...] } ?? rest
            let credentials = rest[..<hosts.startIndex]
            servers = try hosts.split(separator: ",", omittingEmptySubsequences: false).map { host in
                guard let address = NetworkAddress(String(host)), address.port != 0 else {
                    throw Self.invalid("\(host) is not HOST:PORT")
                }
                return "\(scheme)\(credentials)\(address)"
            }
        }

        private static func invalid(_ what: String) -> ApusError { ApusError(.invalidArgument, "not the address of a NATS: \(what)") }
    }
}
#endif
