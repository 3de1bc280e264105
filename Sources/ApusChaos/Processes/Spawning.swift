import NIOConcurrencyHelpers

/// Starts processes, and makes the pipes for them, one at a time.
///
/// Foundation closes in a child the descriptors that were open a moment before it starts it; one that another thread makes in between is
/// inherited. Among those is the one by whose closing Foundation notices that a process has ended: inherited by a process that lives on,
/// it keeps the end of the other one a secret for ever.
public enum Spawning {
    private static let lock = NIOLock()

    public static func alone<Result>(_ body: () throws -> Result) rethrows -> Result { try lock.withLock(body) }
}
