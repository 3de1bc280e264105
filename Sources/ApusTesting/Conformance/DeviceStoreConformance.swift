import ApusCore
import ApusProtocol

/// The promises of ``DeviceStore``.
public enum DeviceStoreConformance {
    public static let cases: [ConformanceCase<any DeviceStore>] = [
        .init("devices of an account are listed oldest first, and are active", listed),
        .init("a refresh token is used up once and the next one works", rotation),
        .init("of many who use a refresh token at once one gets on, and the device ends", rotationRace),
        .init("a second use of a refresh token revokes the device and its family", reuse),
        .init("within the grace a token whose successor was never used is answered anew, and the new token works", lostAnswer),
        .init("the token of a lost answer is withdrawn: using it later revokes the device", withdrawnToken),
        .init("the grace ends, and a second use does not prolong it", graceEnds),
        .init("no grace for a token whose successor was used", usedSuccessor),
        .init("of many who use a token at once within the grace all get one, and of those tokens at most one works", graceRace),
        .init("unknown and expired tokens are refused and harm nobody", refusals),
        .init("only devices of the account are revoked, once, and their tokens with them", revocation),
    ]

    private static let alice = AccountID(1)
    private static let bob = AccountID(2)

    private static func device(_ id: UInt64, of account: AccountID) -> Device {
        Device(
            id: DeviceID(id), account: account, name: "phone \(id)", platform: "ios", createdAt: time(100 - Int64(id)),
            lastSeenAt: time(100 - Int64(id)))
    }

    private static func token(_ byte: UInt8, expires: Int64 = 1000) -> RefreshTokenRecord {
        RefreshTokenRecord(hash: Array(repeating: byte, count: 32), expiresAt: time(expires))
    }

    private static func listed(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        try await store.create(device(2, of: alice), token: token(2))
        try await store.create(device(3, of: bob), token: token(3))
        try expectEqual(try await store.devices(of: alice), [device(2, of: alice), device(1, of: alice)], "devices")
        try expect(try await store.isActive(DeviceID(1)), "the device is active")
        try expect(try await !store.isActive(DeviceID(9)), "an unknown device is not active")
        try expectEqual(try await store.device(refreshToken: token(3).hash), device(3, of: bob), "the device of a token")
    }

    private static func rotation(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        var seen = device(1, of: alice)
        seen.lastSeenAt = time(200)
        try expectEqual(
            try await store.rotate(token(1).hash, to: token(2), at: time(200), grace: .zero), .rotated(seen), "the first rotation")
        seen.lastSeenAt = time(300)
        try expectEqual(
            try await store.rotate(token(2).hash, to: token(3), at: time(300), grace: .zero), .rotated(seen), "the second rotation")
        try expectEqual(try await store.device(refreshToken: token(1).hash), seen, "the device of a used token")
        try expectEqual(try await store.devices(of: alice), [seen], "when the device was last seen")
    }

    private static func rotationRace(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        let outcomes = try await rotateAtOnce(store, grace: .zero)
        let rotated = outcomes.count { if case .rotated = $0 { true } else { false } }
        let reused = outcomes.count { if case .reused = $0 { true } else { false } }
        try expectEqual(rotated, 1, "rotations that got a token")
        // The first second use ends the device; those after it find no device.
        try expectEqual(reused, 1, "rotations that were found to be reuse")
        try expect(try await !store.isActive(DeviceID(1)), "the device is revoked")
    }

    private static func reuse(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        try await store.create(device(2, of: alice), token: token(9))
        _ = try await store.rotate(token(1).hash, to: token(2), at: time(200), grace: .zero)
        let outcome = try await store.rotate(token(1).hash, to: token(3), at: time(300), grace: .zero)
        guard case .reused(let device) = outcome else { throw ConformanceFailure("reuse: \(outcome)", #fileID, #line) }
        try expectEqual(device.id, DeviceID(1), "the device whose token was reused")
        try expect(try await !store.isActive(DeviceID(1)), "the device is revoked")
        try expectEqual(
            try await store.rotate(token(2).hash, to: token(4), at: time(300), grace: .zero), .refused, "the family's newest token")
        try expectEqual(
            try await store.rotate(token(1).hash, to: token(4), at: time(300), grace: .zero), .refused, "the reused token again")
        try expectEqual(try await store.device(refreshToken: token(2).hash), nil, "the device of a token of a revoked device")
        try expect(try await store.isActive(DeviceID(2)), "the other device stays")
    }

    private static let grace = Duration.milliseconds(60)

    private static func lostAnswer(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        _ = try await store.rotate(token(1).hash, to: token(2), at: time(200), grace: grace)
        var seen = device(1, of: alice)
        seen.lastSeenAt = time(259)
        try expectEqual(
            try await store.rotate(token(1).hash, to: token(3), at: time(259), grace: grace), .rotated(seen), "the second use")
        seen.lastSeenAt = time(400)
        try expectEqual(
            try await store.rotate(token(3).hash, to: token(4), at: time(400), grace: grace), .rotated(seen), "its new token")
        try expectEqual(try await store.device(refreshToken: token(2).hash), seen, "the device of the withdrawn token")
    }

    private static func withdrawnToken(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        _ = try await store.rotate(token(1).hash, to: token(2), at: time(200), grace: grace)
        _ = try await store.rotate(token(1).hash, to: token(3), at: time(201), grace: grace)
        let outcome = try await store.rotate(token(2).hash, to: token(4), at: time(202), grace: grace)
        guard case .reused = outcome else { throw ConformanceFailure("the withdrawn token: \(outcome)", #fileID, #line) }
        try expect(try await !store.isActive(DeviceID(1)), "the device is revoked")
        try expectEqual(
            try await store.rotate(token(3).hash, to: token(5), at: time(203), grace: grace), .refused, "the token in its place")
    }

    private static func graceEnds(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        _ = try await store.rotate(token(1).hash, to: token(2), at: time(200), grace: grace)
        _ = try await store.rotate(token(1).hash, to: token(3), at: time(250), grace: grace)
        let outcome = try await store.rotate(token(1).hash, to: token(4), at: time(260), grace: grace)
        guard case .reused = outcome else { throw ConformanceFailure("after the grace: \(outcome)", #fileID, #line) }
        try expect(try await !store.isActive(DeviceID(1)), "the device is revoked")
    }

    private static func usedSuccessor(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        _ = try await store.rotate(token(1).hash, to: token(2), at: time(200), grace: grace)
        _ = try await store.rotate(token(2).hash, to: token(3), at: time(201), grace: grace)
        let outcome = try await store.rotate(token(1).hash, to: token(4), at: time(202), grace: grace)
        guard case .reused = outcome else { throw ConformanceFailure("a token two uses back: \(outcome)", #fileID, #line) }
        try expect(try await !store.isActive(DeviceID(1)), "the device is revoked")
    }

    private static func graceRace(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        let outcomes = try await rotateAtOnce(store, grace: grace)
        try expectEqual(outcomes.count { if case .rotated = $0 { true } else { false } }, 8, "rotations that got a token")
        try expect(try await store.isActive(DeviceID(1)), "the device is active")
        var working = 0
        for byte in 10..<18 as Range<UInt8> {
            let outcome = try await store.rotate(token(byte).hash, to: token(byte + 10), at: time(201), grace: .zero)
            if case .rotated = outcome { working += 1 }
        }
        try expect(working <= 1, "\(working) of the tokens work")
        try expect(try await !store.isActive(DeviceID(1)), "the device is revoked")
    }

    private static func rotateAtOnce(_ store: any DeviceStore, grace: Duration) async throws -> [RefreshRotation] {
        try await withThrowingTaskGroup(of: RefreshRotation.self) { group in
            for byte in 10..<18 as Range<UInt8> {
                group.addTask { try await store.rotate(token(1).hash, to: token(byte), at: time(200), grace: grace) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    private static func refusals(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1, expires: 500))
        try expectEqual(try await store.rotate(token(7).hash, to: token(2), at: time(200), grace: .zero), .refused, "an unknown token")
        try expectEqual(try await store.rotate(token(1).hash, to: token(2), at: time(500), grace: .zero), .refused, "an expired token")
        try expect(try await store.isActive(DeviceID(1)), "the device stays")
        try expectEqual(try await store.device(refreshToken: token(2).hash), nil, "a token that was not issued")
        _ = try await store.rotate(token(1).hash, to: token(2), at: time(499), grace: .zero)
        try expectEqual(
            try await store.rotate(token(1).hash, to: token(3), at: time(500), grace: .zero), .refused, "a used token that has expired")
        try expect(try await store.isActive(DeviceID(1)), "the device stays after that")
    }

    private static func revocation(_ store: any DeviceStore) async throws {
        try await store.create(device(1, of: alice), token: token(1))
        try await store.create(device(2, of: alice), token: token(2))
        try await store.create(device(3, of: bob), token: token(3))
        let named: [DeviceID] = ids(1, 3, 99)
        try expectEqual(try await store.revoke(named, of: alice, at: time(200)), [DeviceID(1)], "devices ended")
        try expectEqual(try await store.revoke(named, of: alice, at: time(201)), [], "devices ended the second time")
        try expectEqual(try await store.devices(of: alice).map(\.id), [DeviceID(2)], "devices left")
        try expect(try await !store.isActive(DeviceID(1)), "the revoked device is not active")
        try expect(try await store.isActive(DeviceID(3)), "a device of another account stays")
        try expectEqual(
            try await store.rotate(token(1).hash, to: token(4), at: time(300), grace: .zero), .refused, "a token of a revoked device")
        try expectEqual(try await store.device(refreshToken: token(1).hash), nil, "the device of that token")
    }
}
