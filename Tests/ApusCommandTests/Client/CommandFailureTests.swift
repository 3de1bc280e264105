import ApusClient
import ApusProtocol
import Foundation
import Testing

@testable import apus

@Suite struct CommandFailureTests {
    @Test(
        "A script can tell refused, unreachable, later and not logged in apart by the exit code",
        arguments: [
            (ErrorCode.notFound, 1), (.notMember, 1), (.conflict, 1), (.forbidden, 1), (.unreachable, 69), (.localStore, 74),
            (.timedOut, 75), (.overloaded, 75), (.shuttingDown, 75), (.storeUnavailable, 75), (.notLoggedIn, 77), (.unauthenticated, 77),
        ] as [(ErrorCode, Int32)])
    func codes(code: ErrorCode, exit: Int32) {
        #expect(CommandFailure(ApusError(code, "why")).exit.rawValue == exit)
    }

    @Test(
        "Wrong usage is found before anything is sent",
        arguments: [
            ["send", "hello"], ["send", "--to", "bob"], ["send", "--to", "bob", "--conversation", "1", "x"],
            ["send", "--to", "bob", "--stdin", "x"], ["send", "--to", "bob", "--at", "tomorrow", "x"],
            ["send", "--to", "bob", "--at", "2026-01-01T00:00:00Z", "--delay", "1", "x"], ["tail", "--from", "0"],
            ["history", "--conversation", "abc"], ["history", "--conversation", "1", "--limit", "0"], ["chat", "--profile", "../x"],
            ["login", "--server", "nowhere", "--username", "a"], ["bench", "pairs", "--rate", "0"], ["bench", "idle", "--sessions", "0"],
        ])
    func usage(arguments: [String]) {
        #expect { try Apus.parseAsRoot(arguments) } throws: { Apus.exitCode(for: $0).rawValue == 64 }
    }

    @Test(
        "The documented command lines are accepted",
        arguments: [
            ["send", "--to", "bob", "hello", "world"], ["send", "--conversation", "7", "--stdin"],
            ["send", "--to", "bob", "--delay", "5", "x"],
            ["send", "--to", "bob", "--at", "2026-01-01T08:00:00.500Z", "x"], ["tail", "--conversation", "1", "--from", "3", "--json"],
            ["history", "--conversation", "1", "--all", "--json"], ["conversations", "--json"],
            ["group", "create", "team", "bob", "carol"],
            ["group", "invite", "--conversation", "1", "bob"], ["group", "rename", "--conversation", "1", "new title"],
            ["group", "leave", "--conversation", "1"], ["devices"], ["devices", "revoke", "12"], ["online"], ["profile", "--bio", "me"],
            ["passwd"], ["chat", "bob", "--profile", "alice", "--language", "zh"], ["logout"],
            ["register", "--server", "http://h:1", "--username", "a", "--password-stdin"], ["bench", "pairs", "--rate", "max"],
            ["bench", "group", "--members", "10"],
        ])
    func accepted(arguments: [String]) throws {
        _ = try Apus.parseAsRoot(arguments)
    }

    @Test("A profile survives its file, and a damaged file says what to do")
    func profile() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("apus-profile-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        #expect(try Profile.load(from: directory) == nil)
        let profile = Profile(server: try #require(URL(string: "http://127.0.0.1:8080")), username: "ada")
        try profile.save(to: directory)
        #expect(try Profile.load(from: directory) == profile)
        try Data("{".utf8).write(to: directory.appendingPathComponent("profile.json"))
        #expect { try Profile.load(from: directory) } throws: { ($0 as? CommandFailure)?.exit == .data }
    }
}
