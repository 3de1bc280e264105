import ApusProtocol
import Foundation

/// A user of the load, logged in.
struct BenchAccount: Sendable {
    var username: String
    var id: AccountID
    var accessToken: String
}

/// Registers and logs in the users of a load, and remembers their tokens from run to run: hashing ten thousand passwords costs the
/// server minutes.
struct BenchAccounts: Sendable {
    let api: BenchAPI
    let prefix: String
    let password: String
    let cache: TokenCache
    /// Logins that run at the same time.
    let loginsAtOnceMax: Int

    /// Users `prefix-0` to `prefix-(count - 1)`.
    func prepare(_ count: Int, progress: ProgressLine) async throws -> [BenchAccount] {
        try await forgetOtherServer()
        var accounts: [BenchAccount?] = Array(repeating: nil, count: count)
        try await withThrowingTaskGroup(of: (Int, BenchAccount).self) { group in
            var started = 0
            var done = 0
            func startNext() {
                guard started < count else { return }
                let index = started
                started += 1
                group.addTask { (index, try await account("\(prefix)-\(index)")) }
            }
            for _ in 0..<max(1, loginsAtOnceMax) { startNext() }
            while let (index, account) = try await group.next() {
                accounts[index] = account
                done += 1
                if done % 50 == 0 || done == count { await progress.show("logging in: \(done) of \(count) users") }
                startNext()
            }
        }
        return accounts.compactMap { $0 }
    }

    /// The server at this address may have begun with an empty store since: then it takes none of the remembered tokens.
    private func forgetOtherServer() async throws {
        guard let known = await cache.token(of: "\(prefix)-0"), known.isFresh else { return }
        do {
            try await api.check(token: known.accessToken)
        } catch let refusal as BenchAPI.Refusal where refusal.status == 401 {
            await cache.forget()
        }
    }

    private func account(_ username: String) async throws -> BenchAccount {
        guard let known = await cache.token(of: username) else { return try await registerAndLogIn(username) }
        if known.isFresh { return BenchAccount(username: username, id: known.account, accessToken: known.accessToken) }
        if let refreshed = try await refresh(known) { return try await remember(username, refreshed) }
        return try await registerAndLogIn(username)
    }

    private func registerAndLogIn(_ username: String) async throws -> BenchAccount {
        do {
            try await api.register(username: username, password: password)
        } catch let refusal as BenchAPI.Refusal where refusal.status == 409 {
            // An earlier run registered this user.
        }
        return try await remember(username, try await api.login(username: username, password: password))
    }

    /// Nil: the server does not take the token any more.
    private func refresh(_ known: TokenCache.Record) async throws -> TokenResponse? {
        do {
            return try await api.refresh(known.refreshToken)
        } catch let refusal as BenchAPI.Refusal where (400..<500).contains(refusal.status) {
            return nil
        }
    }

    private func remember(_ username: String, _ token: TokenResponse) async throws -> BenchAccount {
        guard let account = token.account, let refreshToken = token.refreshToken else {
            throw BenchFailure("the server's token answer names no account or has no refresh token")
        }
        try await cache.store(
            TokenCache.Record(
                username: username, account: account, accessToken: token.accessToken, refreshToken: refreshToken,
                expiresAt: Date().addingTimeInterval(Double(token.expiresIn))))
        return BenchAccount(username: username, id: account, accessToken: token.accessToken)
    }
}

/// Tokens of earlier runs against one server: a file of JSON lines that only grows while a run goes on, so that an interrupted run
/// loses none; the last line of a user counts.
actor TokenCache {
    struct Record: Codable, Sendable {
        var username: String
        var account: AccountID
        var accessToken: String
        var refreshToken: String
        var expiresAt: Date

        /// Long enough for a hello that comes after ten thousand others.
        var isFresh: Bool { expiresAt.timeIntervalSinceNow > 180 }
    }

    private var records: [String: Record] = [:]
    private let file: FileHandle

    /// - Parameter url: created when absent, readable by its owner only.
    init(url: URL) throws {
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        if let data = FileManager.default.contents(atPath: url.path) {
            for line in data.split(separator: UInt8(ascii: "\n")) {
                // A line cut short by an interrupted run means one more login.
                guard let record = try? JSONDecoder().decode(Record.self, from: line) else { continue }
                records[record.username] = record
            }
        }
        var compact = Data()
        for record in records.values {
            compact.append(try JSONEncoder().encode(record))
            compact.append(UInt8(ascii: "\n"))
        }
        let fresh = url.appendingPathExtension("new")
        guard FileManager.default.createFile(atPath: fresh.path, contents: compact, attributes: [.posixPermissions: 0o600]) else {
            throw BenchFailure("cannot write \(fresh.path)")
        }
        // Not `replaceItemAt`: on Linux it wants the target to exist.
        guard rename(fresh.path, url.path) == 0 else { throw BenchFailure("cannot write \(url.path)") }
        file = try FileHandle(forWritingTo: url)
        try file.seekToEnd()
    }

    func token(of username: String) -> Record? { records[username] }

    func forget() { records = [:] }

    func store(_ record: Record) throws {
        records[record.username] = record
        try file.write(contentsOf: try JSONEncoder().encode(record) + Data([UInt8(ascii: "\n")]))
    }
}
