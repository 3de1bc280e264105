/// The paths of the HTTP API, version 1. Everything that is no real-time matter is here.
public enum HTTPPath {
    // auth
    public static let accounts = "/v1/accounts"
    public static let token = "/oauth/token"
    public static let revoke = "/oauth/revoke"
    public static let authorize = "/oauth/authorize"
    public static let discovery = "/.well-known/oauth-authorization-server"
    public static let jwks = "/.well-known/jwks.json"
    public static let devices = "/v1/devices"
    public static let password = "/v1/account/password"
    // user
    public static let account = "/v1/account"
    public static let online = "/v1/online"
    // web
    public static let conversations = "/v1/conversations"
    public static let socketNode = "/v1/socket"
    /// A parameter of ``socketNode``: the `url` of a node that could not be reached.
    public static let avoidedNode = "avoid"
    // every role
    public static let health = "/healthz"
    public static let readiness = "/readyz"

    /// The socket role's WebSocket endpoint.
    public static let webSocket = "/v1/socket"
}
