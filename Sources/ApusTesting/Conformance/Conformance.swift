import ApusCore
import ApusProtocol

/// One promise of a port and the check that an implementation keeps it. The check throws a ``ConformanceFailure`` if not.
public struct ConformanceCase<Subject: Sendable>: Sendable, CustomStringConvertible {
    public let promise: String
    /// Expects a subject that nothing has been stored in.
    public let check: @Sendable (Subject) async throws -> Void

    init(_ promise: String, _ check: @escaping @Sendable (Subject) async throws -> Void) {
        self.promise = promise
        self.check = check
    }

    public var description: String { promise }
}

/// A promise that was not kept.
public struct ConformanceFailure: Error, CustomStringConvertible {
    public let description: String

    init(_ what: String, _ file: StaticString, _ line: UInt) { description = "\(what) (\(file):\(line))" }
}

/// The stores of one database.
public struct StoreSet: Sendable {
    public var accounts: any AccountStore
    public var devices: any DeviceStore
    public var signingKeys: any SigningKeyStore
    public var conversations: any ConversationStore
    public var log: any EntryLog
    public var schedule: any ScheduleStore
    /// False: reads since a position may report heads again that moved shortly before it.
    public var positionsAreExact: Bool

    public init(
        accounts: any AccountStore, devices: any DeviceStore, signingKeys: any SigningKeyStore, conversations: any ConversationStore,
        log: any EntryLog, schedule: any ScheduleStore, positionsAreExact: Bool = true
    ) {
        self.accounts = accounts
        self.devices = devices
        self.signingKeys = signingKeys
        self.conversations = conversations
        self.log = log
        self.schedule = schedule
        self.positionsAreExact = positionsAreExact
    }
}

func expect(_ condition: Bool, _ what: String, file: StaticString = #fileID, line: UInt = #line) throws {
    guard condition else { throw ConformanceFailure(what, file, line) }
}

func expectEqual<Value: Equatable>(
    _ actual: Value, _ expected: Value, _ what: String, file: StaticString = #fileID, line: UInt = #line
) throws {
    guard actual == expected else { throw ConformanceFailure("\(what): \(actual) instead of \(expected)", file, line) }
}

func require<Value>(_ value: Value?, _ what: String, file: StaticString = #fileID, line: UInt = #line) throws -> Value {
    guard let value else { throw ConformanceFailure("\(what): nothing", file, line) }
    return value
}

/// Expects an ``ApusError`` with this code.
func expectRefusal(
    _ code: ErrorCode, _ what: String, file: StaticString = #fileID, line: UInt = #line, _ body: () async throws -> Void
) async throws {
    do {
        try await body()
    } catch let error as ApusError {
        guard error.code != code else { return }
        throw ConformanceFailure("\(what): \(error) instead of \(code.rawValue)", file, line)
    }
    throw ConformanceFailure("\(what): it succeeded", file, line)
}

func time(_ milliseconds: Int64) -> Timestamp { Timestamp(milliseconds: 1_800_000_000_000 + milliseconds) }

func ids<Tag>(_ values: UInt64...) -> [Identifier<Tag>] { values.map { Identifier($0) } }
