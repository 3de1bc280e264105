/// How the HTTP side listens and what it allows. Every limit holds before anybody is authenticated.
public struct HTTPConfiguration: Sendable {
    public var host: String
    /// 0: any free port; see ``HTTPService/address``.
    public var port: Int
    public var bodyBytesMax: Int
    /// All header fields of a request together, with the request line.
    public var headerBytesMax: Int
    public var headerFieldsMax: Int
    public var connectionsMax: Int
    /// From the end of the header to the response. A handler that takes longer is cancelled.
    public var requestTimeout: Duration
    /// A connection without a request for this long is closed; so is one whose header does not come.
    public var idleTimeout: Duration
    /// Origins whose browsers may call the API: `*` for any, or like `https://chat.example.com`. The API takes no cookies, so
    /// any origin is no danger to anybody's login.
    public var corsOrigins: [String]
    /// Whose `X-Forwarded-For` is believed: the gateways, for a role behind them; a load balancer, for a gateway behind it. From
    /// anybody else the field is worth nothing, and the connection's own address counts.
    public var trustedProxies: [AddressRange]

    public init(
        host: String, port: Int, bodyBytesMax: Int = 65_536, headerBytesMax: Int = 16_384, headerFieldsMax: Int = 64,
        connectionsMax: Int = 4096, requestTimeout: Duration = .seconds(30), idleTimeout: Duration = .seconds(60),
        corsOrigins: [String] = ["*"], trustedProxies: [AddressRange] = []
    ) {
        self.host = host
        self.port = port
        self.bodyBytesMax = bodyBytesMax
        self.headerBytesMax = headerBytesMax
        self.headerFieldsMax = headerFieldsMax
        self.connectionsMax = connectionsMax
        self.requestTimeout = requestTimeout
        self.idleTimeout = idleTimeout
        self.corsOrigins = corsOrigins
        self.trustedProxies = trustedProxies
    }
}
