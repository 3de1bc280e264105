import ApusProtocol
import Foundation

/// Where the S3 store is and how to speak to it.
public struct S3Configuration: Sendable {
    public enum Style: String, Sendable, CaseIterable {
        /// `https://host/bucket/key`: MinIO, SeaweedFS, everything on one host.
        case path
        /// `https://bucket.host/key`: AWS and others with a wildcard name.
        case host
    }

    public var scheme: String
    public var host: String
    /// Nil: the scheme's own.
    public var port: Int?
    public var region: String
    public var bucket: String
    public var accessKey: String
    public var secretKey: String
    public var style: Style
    /// A PEM file of certificate authorities to trust instead of the system's.
    public var authoritiesFile: String?

    /// For the answer to begin, and for each further piece of it. A body of our own gets a second more for every 64 KiB.
    public var timeout = Duration.seconds(10)
    /// Of one call that may be repeated.
    public var attemptsMax = 4
    /// Before the second attempt; doubles from there on.
    public var retryDelay = Duration.milliseconds(100)
    public var connectionsMax = 64

    /// - Parameter endpoint: `https://host[:port]`, without a path.
    /// - Throws: ``ApusError`` `invalid_argument` with what is wrong.
    public init(
        endpoint: String, region: String = "us-east-1", bucket: String, accessKey: String, secretKey: String, style: Style = .path
    ) throws {
        guard let url = URLComponents(string: endpoint), let scheme = url.scheme, ["http", "https"].contains(scheme), let host = url.host,
            !host.isEmpty, ["", "/"].contains(url.path), url.query == nil, url.user == nil
        else { throw ApusError(.invalidArgument, "the endpoint of the object store is not like https://host:port") }
        guard Self.isBucket(bucket) else { throw ApusError(.invalidArgument, "\(bucket) is no name of a bucket") }
        guard !region.isEmpty, region.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "/") }) else {
            throw ApusError(.invalidArgument, "that is no region")
        }
        guard !accessKey.isEmpty, !secretKey.isEmpty else { throw ApusError(.invalidArgument, "the object store needs both keys") }
        self.scheme = scheme
        self.host = host
        port = url.port
        self.region = region
        self.bucket = bucket
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.style = style
    }

    /// - Parameter url: `s3://BUCKET?endpoint=https://host:port&region=us-east-1&style=path&ca=FILE`. Without an endpoint: AWS in that region;
    ///   `ca` is ``authoritiesFile``.
    /// - Throws: ``ApusError`` `invalid_argument` with what is wrong.
    public init(url: String, accessKey: String, secretKey: String) throws {
        guard let parts = URLComponents(string: url), parts.scheme == "s3", let bucket = parts.host, ["", "/"].contains(parts.path),
            parts.port == nil, parts.user == nil
        else { throw ApusError(.invalidArgument, "the object store's address is not like s3://BUCKET?endpoint=https://host:port") }
        var values: [String: String] = [:]
        for item in parts.queryItems ?? [] {
            guard ["endpoint", "region", "style", "ca"].contains(item.name), let value = item.value, values[item.name] == nil else {
                throw ApusError(.invalidArgument, "an s3:// address has endpoint, region, style and ca, not \(item.name)")
            }
            values[item.name] = value
        }
        let region = values["region"] ?? "us-east-1"
        let isAWS = values["endpoint"] == nil
        guard let style = Style(rawValue: values["style"] ?? (isAWS ? Style.host : .path).rawValue) else {
            throw ApusError(.invalidArgument, "the style of an s3:// address is path or host")
        }
        try self.init(
            endpoint: values["endpoint"] ?? "https://s3.\(region).amazonaws.com", region: region, bucket: bucket, accessKey: accessKey,
            secretKey: secretKey, style: style)
        authoritiesFile = values["ca"]
    }

    private static func isBucket(_ name: String) -> Bool {
        (3...63).contains(name.utf8.count)
            && name.utf8.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            }
    }

    /// What stands in `Host`, and in the signature.
    var authority: String {
        let name = style == .host ? "\(bucket).\(host)" : host
        return port.map { "\(name):\($0)" } ?? name
    }

    /// Not escaped.
    func path(_ key: String?) -> String {
        let bucketPath = style == .host ? "" : "/\(bucket)"
        return key.map { "\(bucketPath)/\($0)" } ?? (bucketPath.isEmpty ? "/" : bucketPath)
    }
}
