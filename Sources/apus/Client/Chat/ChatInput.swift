import ApusProtocol

/// What a line typed into `apus chat` asks for.
enum ChatInput: Equatable {
    case nothing
    case message(String)
    case open(String)
    case list
    case history(Int)
    case search(String)
    case online
    case users(prefix: String)
    case info
    case emoji(page: Int)
    case delay(seconds: Double, text: String)
    case createGroup(title: String, members: [String])
    case invite([String])
    case members
    case rename(String)
    case leave
    case help
    case quit
    /// The command is there, its arguments are not: how it is used.
    case incomplete(usage: String)
    case unknown(String)

    /// When a line is done that comes while an earlier one waits for its answer.
    enum Turn {
        /// Messages: they wait for nobody, and keep their order among themselves.
        case atOnce
        /// Shows something and changes nothing: one after the other, beside the lines that follow.
        case beside
        /// Changes what the lines around it mean: after all that came before it, and before all that follow.
        case alone
    }

    var turn: Turn {
        switch self {
        case .nothing, .message, .delay: .atOnce
        case .list, .history, .search, .online, .users, .info, .emoji, .members, .help, .incomplete, .unknown: .beside
        case .open, .createGroup, .invite, .rename, .leave, .quit: .alone
        }
    }

    static let historyMax = 200

    init(line: String) {
        let line = line.trimmingSpaces
        guard line.hasPrefix(":") else {
            self = line.isEmpty ? .nothing : .message(line)
            return
        }
        if line.hasPrefix("::") {
            self = .message(String(line.dropFirst()))
            return
        }
        let parts = line.split(separator: " ", maxSplits: 1)
        let name = String(parts[0])
        // A message may begin with an emoji's name, `:smile: hello`; no command ends with a colon.
        if name.count > 2, name.hasSuffix(":") {
            self = .message(line)
            return
        }
        self = Self.command(name, rest: parts.count > 1 ? String(parts[1]).trimmingSpaces : "")
    }

    private static func command(_ name: String, rest: String) -> ChatInput {
        switch name {
        case ":q!": return .quit
        case ":all": return .help
        case ":olu": return .online
        case ":info": return .info
        case ":ls": return .list
        case ":members": return .members
        case ":leave": return .leave
        case ":q": return rest.isEmpty ? .incomplete(usage: ":q KEYWORD") : .search(rest)
        case ":pu": return rest.isEmpty ? .incomplete(usage: ":pu PREFIX") : .users(prefix: rest)
        case ":open": return rest.isEmpty ? .incomplete(usage: ":open NAME|ID|NUMBER") : .open(rest)
        case ":rename": return rest.isEmpty ? .incomplete(usage: ":rename TITLE") : .rename(rest)
        case ":invite": return rest.isEmpty ? .incomplete(usage: ":invite USER …") : .invite(words(rest))
        case ":history": return number(rest, default: 20, in: 1...historyMax).map { .history($0) } ?? .incomplete(usage: ":history [COUNT]")
        case ":emoji": return number(rest, default: 1, in: 1...1000).map { .emoji(page: $0) } ?? .incomplete(usage: ":emoji [PAGE]")
        case ":delay": return delay(rest)
        case ":group":
            guard let title = words(rest).first, !title.isEmpty else { return .incomplete(usage: ":group TITLE [USER …]") }
            return .createGroup(title: title, members: Array(words(rest).dropFirst()))
        default: return .unknown(name)
        }
    }

    private static func delay(_ rest: String) -> ChatInput {
        let parts = rest.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let seconds = Double(parts[0]), seconds > 0, seconds < 1e9 else {
            return .incomplete(usage: ":delay SECONDS TEXT")
        }
        return .delay(seconds: seconds, text: String(parts[1]).trimmingSpaces)
    }

    private static func number(_ text: String, default: Int, in range: ClosedRange<Int>) -> Int? {
        guard !text.isEmpty else { return `default` }
        guard let number = Int(text), range.contains(number) else { return nil }
        return number
    }

    /// Words divided by spaces; what is in double quotes is one word.
    private static func words(_ text: String) -> [String] {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        for character in text {
            switch character {
            case "\"", "“", "”": isQuoted.toggle()
            case " " where !isQuoted:
                if !word.isEmpty { words.append(word) }
                word = ""
            default: word.append(character)
            }
        }
        return word.isEmpty ? words : words + [word]
    }
}

extension String {
    fileprivate var trimmingSpaces: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
