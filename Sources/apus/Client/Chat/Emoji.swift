/// Emoji by name, for those whose keyboard has none: `:smile:` in a message becomes the character.
enum Emoji {
    static let pageSize = 20

    static let all: [(name: String, character: String)] = [
        ("smile", "😄"), ("grin", "😁"), ("joy", "😂"), ("wink", "😉"), ("blush", "😊"), ("heart_eyes", "😍"), ("kiss", "😘"),
        ("thinking", "🤔"), ("neutral", "😐"), ("roll_eyes", "🙄"), ("sleepy", "😪"), ("sunglasses", "😎"), ("confused", "😕"),
        ("worried", "😟"), ("cry", "😢"), ("sob", "😭"), ("angry", "😠"), ("scream", "😱"), ("flushed", "😳"), ("mask", "😷"),
        ("thumbsup", "👍"), ("thumbsdown", "👎"), ("ok", "👌"), ("clap", "👏"), ("wave", "👋"), ("pray", "🙏"), ("muscle", "💪"),
        ("point_up", "☝️"), ("handshake", "🤝"), ("fist", "✊"), ("eyes", "👀"), ("brain", "🧠"), ("heart", "❤️"),
        ("broken_heart", "💔"), ("fire", "🔥"), ("star", "⭐"), ("sparkles", "✨"), ("zap", "⚡"), ("boom", "💥"), ("hundred", "💯"),
        ("tada", "🎉"), ("gift", "🎁"), ("cake", "🎂"), ("beer", "🍺"), ("coffee", "☕"), ("tea", "🍵"), ("rice", "🍚"),
        ("noodles", "🍜"), ("apple", "🍎"), ("watermelon", "🍉"), ("sun", "☀️"), ("moon", "🌙"), ("cloud", "☁️"), ("rain", "🌧️"),
        ("snow", "❄️"), ("rainbow", "🌈"), ("flower", "🌸"), ("rose", "🌹"), ("tree", "🌳"), ("bird", "🐦"), ("dog", "🐶"),
        ("cat", "🐱"), ("panda", "🐼"), ("tiger", "🐯"), ("dragon", "🐉"), ("horse", "🐴"), ("rabbit", "🐰"), ("fish", "🐟"),
        ("rocket", "🚀"), ("car", "🚗"), ("train", "🚆"), ("plane", "✈️"), ("bike", "🚲"), ("house", "🏠"), ("phone", "📱"),
        ("computer", "💻"), ("book", "📖"), ("pencil", "✏️"), ("mail", "✉️"), ("calendar", "📅"), ("clock", "⏰"), ("lock", "🔒"),
        ("key", "🔑"), ("bulb", "💡"), ("bug", "🐛"), ("wrench", "🔧"), ("check", "✅"), ("cross", "❌"), ("question", "❓"),
        ("warning", "⚠️"),
    ]

    static var pageCount: Int { (all.count + pageSize - 1) / pageSize }

    /// Pages count from 1.
    static func page(_ page: Int) -> ArraySlice<(name: String, character: String)> {
        guard (1...pageCount).contains(page) else { return [] }
        return all[(page - 1) * pageSize..<min(page * pageSize, all.count)]
    }

    private static let byName = Dictionary(uniqueKeysWithValues: all)

    /// Replaces the names that there are; everything else between colons stays.
    static func expand(_ text: String) -> String {
        var out = ""
        var rest = text[...]
        while let start = rest.firstIndex(of: ":") {
            out += rest[..<start]
            rest = rest[rest.index(after: start)...]
            if let end = rest.firstIndex(of: ":"), let emoji = byName[String(rest[..<end])] {
                out += emoji
                rest = rest[rest.index(after: end)...]
            } else {
                out += ":"
            }
        }
        return out + rest
    }
}
