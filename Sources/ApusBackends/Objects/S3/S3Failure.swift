import ApusProtocol
import Foundation

/// An answer of an S3 store that is none of success.
struct S3Failure: Error, CustomStringConvertible {
    var status: Int
    /// S3's own name of it, such as `NoSuchKey`; empty in answers without a body, as to `HEAD`.
    var code: String
    var message: String

    init(status: Int, code: String, message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    /// - Parameter body: the error document, or nothing.
    init(status: Int, body: String) {
        self.status = status
        let document = try? XMLReader.read(body)
        code = document?["Code"] ?? ""
        message = String((document?["Message"] ?? "").prefix(300))
    }

    var description: String { "HTTP \(status) \(code): \(message)" }

    /// What the caller is told, who knows nothing of S3.
    /// - Parameter skew: by how many seconds the store's clock is ahead of ours.
    func error(skew: Int?) -> ApusError {
        switch code {
        case "NoSuchKey", "NoSuchUpload": return ApusError(.notFound, "the object store does not have it", cause: self)
        case "NoSuchBucket": return ApusError(.internal, "the object store has no such bucket", cause: self)
        case "RequestTimeTooSkewed", "RequestExpired":
            let by = skew.map { " by \(abs($0)) seconds" } ?? ""
            return ApusError(
                .internal, "this machine's clock and the object store's differ\(by), so that it refuses our signatures: set the clocks",
                cause: self)
        case "RequestTimeout", "OperationAborted": return ApusError(.storeUnavailable, "the object store failed", cause: self)
        case "SlowDown": return ApusError(.overloaded, "the object store asks for patience", cause: self)
        case "EntityTooLarge": return ApusError(.tooLarge, "the object store takes no object of this size", cause: self)
        case "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "EntityTooSmall", "InvalidPart", "InvalidPartOrder",
            "InvalidRange":
            return ApusError(.invalidArgument, "the object store refuses it: \(message)", cause: self)
        default: break
        }
        switch status {
        case 404: return ApusError(.notFound, "the object store does not have it", cause: self)
        case 416: return ApusError(.invalidArgument, "the object does not have these bytes", cause: self)
        case 301, 307, 308:
            return ApusError(.internal, "the object store sends us elsewhere: check its endpoint and region", cause: self)
        case 401, 403: return ApusError(.internal, "the object store refuses our keys", cause: self)
        case 429, 503: return ApusError(.overloaded, "the object store asks for patience", cause: self)
        case 408, 500...: return ApusError(.storeUnavailable, "the object store failed", cause: self)
        default: return ApusError(.internal, "the object store refuses the request", cause: self)
        }
    }
}
