/// A 64-bit snowflake that cannot be mistaken for the id of something else. Decimal string in JSON and in print.
public struct Identifier<Tag>: RawRepresentable, Hashable, Sendable, Comparable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

extension Identifier: LosslessStringConvertible {
    /// Nil unless `description` is a decimal number of 64 bits.
    public init?(_ description: String) {
        guard let value = UInt64(description) else { return nil }
        self.init(rawValue: value)
    }

    public var description: String { String(rawValue) }
}

extension Identifier: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = Self(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "an id is a decimal number in a string")
        }
        self = id
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

public enum AccountTag {}
public enum DeviceTag {}
public enum SessionTag {}
public enum ConversationTag {}
public enum EntryTag {}

public typealias AccountID = Identifier<AccountTag>
/// An installation of a client; owns one family of refresh tokens.
public typealias DeviceID = Identifier<DeviceTag>
/// One authenticated connection of a device.
public typealias SessionID = Identifier<SessionTag>
public typealias ConversationID = Identifier<ConversationTag>
public typealias EntryID = Identifier<EntryTag>

/// The place of an entry in its conversation: 1, 2, 3 … without a gap.
public typealias Seq = UInt64
