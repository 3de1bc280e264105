import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers

/// Whether the devices behind access tokens are logged in still: a token alone would open everything until it expires, a quarter of
/// an hour after its device was revoked. Answers are kept for some seconds, so that most requests cost the store nothing.
///
/// A revocation in this process holds from the next request on, one by another process within `ageMax`.
public final class DeviceCheck: Sendable {
    private struct Answer {
        var isActive: Bool
        /// Before the store was asked.
        var at: Timestamp
    }

    /// Two generations: when the young one is full it becomes the old one, whose answers are forgotten.
    private struct Answers {
        var young: [DeviceID: Answer] = [:]
        var old: [DeviceID: Answer] = [:]

        subscript(device: DeviceID) -> Answer? { young[device] ?? old[device] }

        mutating func insert(_ answer: Answer, for device: DeviceID, countMax: Int) {
            // A device never comes back: an answer that was on its way while it was revoked must not bring it back either.
            if answer.isActive, self[device]?.isActive == false { return }
            if young.count >= max(1, countMax / 2), young[device] == nil {
                old = young
                young = [:]
            }
            young[device] = answer
        }
    }

    private let devices: any DeviceStore
    private let clock: any WallClock
    private let ageMax: Duration
    private let countMax: Int
    private let timeout: Duration
    private let answers = NIOLockedValueBox(Answers())

    /// - Parameters:
    ///   - ageMax: answers of the store are believed for so long.
    ///   - countMax: answers that are kept, some 50 bytes each.
    ///   - timeout: a store that takes longer counts as unavailable.
    public init(
        devices: any DeviceStore, clock: any WallClock, ageMax: Duration = .seconds(5), countMax: Int = 65_536,
        timeout: Duration = .seconds(2)
    ) {
        self.devices = devices
        self.clock = clock
        self.ageMax = ageMax
        self.countMax = countMax
        self.timeout = timeout
    }

    /// - Throws: ``ApusError`` `unauthenticated` for a device that was revoked, `store_unavailable` when that cannot be found out.
    func check(_ device: DeviceID) async throws {
        let now = clock.now
        let known = answers.withLockedValue { $0[device] }
        let isActive: Bool
        if let known, !known.isActive || isRecent(known.at, now) {
            isActive = known.isActive
        } else {
            // Requests of one device that arrive together may each ask: rarely more than a handful, and never for long.
            let answer = Answer(isActive: try await ask(device), at: now)
            isActive = answers.withLockedValue { answers in
                answers.insert(answer, for: device, countMax: countMax)
                return answers[device]?.isActive ?? answer.isActive
            }
        }
        guard isActive else { throw ApusError(.unauthenticated, "this device is logged out") }
    }

    /// Tells of a revocation that the store has.
    func revoked(_ devices: [DeviceID]) {
        let now = clock.now
        answers.withLockedValue { answers in
            for device in devices { answers.insert(Answer(isActive: false, at: now), for: device, countMax: countMax) }
        }
    }

    /// A clock that was set back makes answers old, not young.
    private func isRecent(_ time: Timestamp, _ now: Timestamp) -> Bool { time <= now && now < time + ageMax }

    private func ask(_ device: DeviceID) async throws -> Bool {
        do {
            return try await withThrowingTaskGroup(of: Bool?.self) { group in
                group.addTask { [devices] in try await devices.isActive(device) }
                group.addTask { [timeout] in
                    try await Task.sleep(for: timeout)
                    return nil
                }
                defer { group.cancelAll() }
                guard let first = try await group.next(), let isActive = first else {
                    throw ApusError(.storeUnavailable, "the store took longer than \(timeout)")
                }
                return isActive
            }
        } catch let error as CancellationError {
            throw error
        } catch {
            throw ApusError(.storeUnavailable, "it cannot be found out whether this device is logged in; try again", cause: error)
        }
    }
}
