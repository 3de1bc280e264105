import ApusProtocol

/// When a signing key is published, signs, and is forgotten. Every key verifies from the moment it is in the store until it
/// is removed, so a rotation logs nobody out.
///
///     key A   |--- signs ------------------|--- verifies ---| removed
///     key B              published |-lead--|--- signs ...
///
/// A new key is published for `publicationLead` before it signs: by then every node has read the store again.
public struct KeySchedule: Sendable {
    public var rotationAge: Duration
    /// At least twice the interval at which nodes read the store again.
    public var publicationLead: Duration
    public var tokenLifetime: Duration

    public init(
        rotationAge: Duration = .seconds(30 * 86_400), publicationLead: Duration = .seconds(120),
        tokenLifetime: Duration = .seconds(900)
    ) {
        self.rotationAge = rotationAge
        self.publicationLead = publicationLead
        self.tokenLifetime = tokenLifetime
    }

    /// The newest key that is known everywhere; the oldest while there is none such.
    /// - Parameter keys: newest first.
    public func signingKey(of keys: [SigningKey], at now: Timestamp) -> SigningKey? {
        keys.first { now >= $0.createdAt + publicationLead } ?? keys.last
    }

    /// Whether it is time for a new key.
    public func isDue(_ keys: [SigningKey], at now: Timestamp) -> Bool {
        guard let newest = keys.first else { return true }
        return now >= newest.createdAt + rotationAge
    }

    /// Keys whose last token has expired: their successor signs for longer than a token lives. A node that read the store
    /// late may have signed with the old key for another lead.
    public func expired(_ keys: [SigningKey], at now: Timestamp) -> [SigningKey] {
        zip(keys.dropFirst(), keys).compactMap { key, successor in
            now > successor.createdAt + publicationLead + publicationLead + tokenLifetime ? key : nil
        }
    }
}

extension Timestamp {
    /// A later (or, with a negative duration, earlier) time; fractions of a millisecond are dropped.
    public static func + (time: Timestamp, duration: Duration) -> Timestamp {
        let (seconds, attoseconds) = duration.components
        return Timestamp(milliseconds: time.milliseconds + seconds * 1000 + attoseconds / 1_000_000_000_000_000)
    }
}
