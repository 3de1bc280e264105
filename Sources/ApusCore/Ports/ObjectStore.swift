import ApusProtocol

/// Files: pictures, recordings, whatever is too large for a message. Objects are written whole and never changed in place; putting again
/// under the same key replaces the object as a whole.
///
/// Every call ends within a bounded time. Failures of the store are an ``ApusError`` `store_unavailable` (`overloaded` when it asks for
/// patience), a store that refuses this server's credentials or clock is an `internal`.
public protocol ObjectStore: Sendable {
    /// Durable when it returns. Readers see the old object or the new one, never a part.
    /// - Parameter type: the media type, such as `image/png`; see ``ObjectRules/check(type:)``.
    /// - Throws: ``ApusError`` `invalid_argument` when the body is not what it says about itself (size, checksum): nothing is stored
    ///   then; `too_large` above ``ObjectRules/putBytesMax``. A store may answer `conflict` when one key would be a folder of the other.
    func put(_ key: ObjectKey, _ body: ObjectBody, type: String) async throws
    /// - Parameter range: bytes, counted from 0; what lies behind the end is left out. Nil: all.
    /// - Throws: ``ApusError`` `not_found`; `invalid_argument` when the range is empty or begins behind the end.
    func get(_ key: ObjectKey, range: Range<Int64>?) async throws -> StoredObject
    /// Nil when there is no such object.
    func head(_ key: ObjectKey) async throws -> ObjectInfo?
    /// Does nothing when there is no such object. Gone for good when it returns.
    func delete(_ key: ObjectKey) async throws
    /// The objects whose keys begin with `prefix` (not necessarily a whole part), in an order of the store's own. Over all pages, every
    /// object that is there throughout comes once; what comes and goes meanwhile may be missed.
    /// - Parameters:
    ///   - cursor: ``ObjectPage/next`` of the page before.
    ///   - limit: 1 to 1,000; a page may have fewer and yet not be the last.
    /// - Throws: ``ApusError`` `invalid_argument` for a prefix or cursor that cannot be one.
    func list(prefix: String, after cursor: String?, limit: Int) async throws -> ObjectPage
    /// A URL with which anybody may do this one thing, without this server, until `lifetime` is over. Nil: not with this store.
    /// - Parameter lifetime: 1 second to 7 days.
    /// - Throws: ``ApusError`` `invalid_argument`.
    func signedURL(for access: ObjectAccess, of key: ObjectKey, lifetime: Duration) async throws -> String?
}

/// Objects that come in parts, in any order and at the same time, on several connections and over hours.
public protocol MultipartUploads: Sendable {
    /// Every part but the last has at least this many bytes.
    var partBytesMin: Int64 { get }
    /// Nothing can be read under the key before ``completeUpload(_:parts:)``.
    func beginUpload(_ key: ObjectKey, type: String) async throws -> ObjectUpload
    /// The same number again replaces that part.
    /// - Parameter number: 1 to ``ObjectRules/partsMax``.
    /// - Throws: ``ApusError`` `not_found` when the upload is over; `invalid_argument` as in ``ObjectStore/put(_:_:type:)``.
    func uploadPart(_ number: Int, of upload: ObjectUpload, _ body: ObjectBody) async throws -> UploadedPart
    /// Puts the parts together. Durable when it returns, and then the upload is over.
    /// - Parameter parts: in ascending order of their numbers, which may have gaps.
    /// - Throws: ``ApusError`` `invalid_argument` when a part is missing, too small, or not what was uploaded last under its number;
    ///   `not_found` when the upload is over. Of one that was completed a store may remember that, and do nothing. After `store_unavailable`
    ///   it is unknown whether it happened: try again, and take `not_found` as a reason to look at the object.
    func completeUpload(_ upload: ObjectUpload, parts: [UploadedPart]) async throws
    /// Forgets the parts. Does nothing when the upload is over.
    func abortUpload(_ upload: ObjectUpload) async throws
}

/// What ``ObjectStore/get(_:range:)`` answers. Read the body or drop it; it fails with an ``ApusError`` when it cannot be read to its end.
public struct StoredObject: Sendable {
    public var info: ObjectInfo
    /// The bytes that the body has.
    public var range: Range<Int64>
    public var body: ObjectBytes

    public init(info: ObjectInfo, range: Range<Int64>, body: ObjectBytes) {
        self.info = info
        self.range = range
        self.body = body
    }
}

public struct ObjectInfo: Sendable, Hashable {
    public var size: Int64
    public var type: String
    /// Of all its bytes; nil when the store was not told and does not know, as after an upload in parts.
    public var checksum: ObjectChecksum?
    public var modifiedAt: Timestamp

    public init(size: Int64, type: String, checksum: ObjectChecksum?, modifiedAt: Timestamp) {
        self.size = size
        self.type = type
        self.checksum = checksum
        self.modifiedAt = modifiedAt
    }
}

public struct ObjectPage: Sendable, Hashable {
    public struct Item: Sendable, Hashable {
        public var key: ObjectKey
        public var size: Int64
        public var modifiedAt: Timestamp

        public init(key: ObjectKey, size: Int64, modifiedAt: Timestamp) {
            self.key = key
            self.size = size
            self.modifiedAt = modifiedAt
        }
    }

    public var items: [Item]
    /// For the next page; nil when this is the last.
    public var next: String?

    public init(items: [Item], next: String?) {
        self.items = items
        self.next = next
    }
}

/// What a signed URL allows.
public enum ObjectAccess: Sendable, Hashable {
    case get
    /// With exactly this `Content-Type` and `Content-Length`.
    case put(type: String, size: Int64)
}

/// An upload in parts. Whoever knows it can go on with it, also after a restart.
public struct ObjectUpload: Sendable, Hashable {
    public var key: ObjectKey
    /// The store's own name for it.
    public var id: String

    public init(key: ObjectKey, id: String) {
        self.key = key
        self.id = id
    }
}

public struct UploadedPart: Sendable, Hashable {
    public var number: Int
    public var size: Int64
    /// The store's own mark of its content.
    public var tag: String

    public init(number: Int, size: Int64, tag: String) {
        self.number = number
        self.size = size
        self.tag = tag
    }
}
