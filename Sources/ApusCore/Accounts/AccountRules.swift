import ApusProtocol

/// What the texts of an account and of its devices may look like. Lengths are bytes of UTF-8.
public enum AccountRules {
    public static let passwordBytes = 8...1024
    public static let displayNameBytesMax = 128
    public static let avatarBytesMax = 1024
    public static let bioBytesMax = 1024
    public static let deviceNameBytesMax = 128
    public static let platformBytesMax = 32

    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func check(password: String) throws {
        guard passwordBytes.contains(password.utf8.count) else {
            throw ApusError(
                .invalidArgument, "a password has \(passwordBytes.lowerBound) to \(passwordBytes.upperBound) bytes")
        }
    }

    /// The account with what `update` changes in its profile.
    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func applying(_ update: ProfileUpdate, to account: Account) throws -> Account {
        var account = account
        if let name = update.displayName { account.displayName = try displayName(name) }
        if let avatar = update.avatar {
            try check(avatar, "avatar", bytesMax: avatarBytesMax)
            account.avatar = avatar
        }
        if let bio = update.bio {
            try check(bio, "bio", bytesMax: bioBytesMax, multiline: true)
            account.bio = bio
        }
        return account
    }

    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func displayName(_ text: String) throws -> String {
        try check(text, "display_name", bytesMax: displayNameBytesMax)
        guard text.contains(where: { !$0.isWhitespace }) else { throw ApusError(.invalidArgument, "display_name is empty") }
        return text
    }

    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func deviceName(_ text: String) throws -> String {
        try check(text, "device_name", bytesMax: deviceNameBytesMax)
        return text
    }

    /// What policy `one-per-platform` compares, so it is folded: `iOS` and `ios` are one platform.
    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func platform(_ text: String) throws -> String {
        let platform = text.lowercased()
        let allowed = platform.utf8.allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || ".-_".utf8.contains($0)
        }
        guard allowed, (1...platformBytesMax).contains(platform.utf8.count) else {
            throw ApusError(.invalidArgument, "a platform has 1 to \(platformBytesMax) of a-z 0-9 . _ -")
        }
        return platform
    }

    /// Text that is shown in one line (or several) must not carry control characters, which could rewrite a terminal.
    static func check(_ text: String, _ field: String, bytesMax: Int, multiline: Bool = false) throws {
        guard text.utf8.count <= bytesMax else { throw ApusError(.invalidArgument, "\(field) has more than \(bytesMax) bytes") }
        let clean = text.unicodeScalars.allSatisfy {
            $0.properties.generalCategory != .control || (multiline && $0 == "\n")
        }
        guard clean else { throw ApusError(.invalidArgument, "\(field) contains control characters") }
    }
}

extension ConversationRules {
    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func title(_ text: String) throws -> String {
        try AccountRules.check(text, "title", bytesMax: titleBytesMax)
        guard text.contains(where: { !$0.isWhitespace }) else { throw ApusError(.invalidArgument, "title is empty") }
        return text
    }
}

/// What the HTTP side asks of conversations before they reach the log.
public enum ConversationRules {
    public static let titleBytesMax = 256
    /// Accounts that one request may bring into a group; larger groups are made by several.
    public static let membersPerRequestMax = 1000

    /// Without duplicates and in a fixed order, so that a repeated request makes the same entry.
    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func members(_ accounts: [AccountID]) throws -> [AccountID] {
        guard accounts.count <= membersPerRequestMax else {
            throw ApusError(.invalidArgument, "at most \(membersPerRequestMax) accounts at once")
        }
        return Set(accounts).sorted()
    }
}
