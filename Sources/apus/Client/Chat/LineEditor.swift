/// A line being typed, as a value: keys in, what to do out. Knows nothing of the terminal but its width.
struct LineEditor {
    enum Key: Equatable {
        case character(Character)
        case enter, backspace, delete, left, right, home, end, up, down
        case killToStart, killToEnd, killWord, clearScreen, interrupt, endOfInput
    }

    enum Outcome: Equatable {
        /// The line changed or the cursor moved.
        case edited
        case ignored
        case submitted(String)
        case clearScreen
        /// Ctrl-C on an empty line, or Ctrl-D.
        case quit
    }

    static let charactersMax = 8000
    private static let historyMax = 200

    private(set) var text: [Character] = []
    /// Before which character the cursor is.
    private(set) var cursor = 0
    private var history: [[Character]] = []
    /// Which line of the history is shown; `history.count` is the line that is being typed.
    private var shown = 0
    private var draft: [Character] = []

    var line: String { String(text) }

    mutating func press(_ key: Key) -> Outcome {
        switch key {
        case .character(let character): return insert(character)
        case .enter: return submit()
        case .backspace:
            guard cursor > 0 else { return .ignored }
            cursor -= 1
            text.remove(at: cursor)
            return .edited
        case .delete:
            guard cursor < text.count else { return .ignored }
            text.remove(at: cursor)
            return .edited
        case .left: return move(to: cursor - 1)
        case .right: return move(to: cursor + 1)
        case .home: return move(to: 0)
        case .end: return move(to: text.count)
        case .up: return recall(shown - 1)
        case .down: return recall(shown + 1)
        case .killToStart: return remove(0..<cursor)
        case .killToEnd: return remove(cursor..<text.count)
        case .killWord: return remove(wordStart..<cursor)
        case .clearScreen: return .clearScreen
        case .interrupt: return text.isEmpty ? .quit : remove(0..<text.count)
        case .endOfInput: return text.isEmpty ? .quit : press(.delete)
        }
    }

    private mutating func insert(_ character: Character) -> Outcome {
        guard text.count < Self.charactersMax else { return .ignored }
        // A combining mark, or the second half of an emoji, joins the character before it.
        if cursor > 0 {
            let joined = String(text[cursor - 1]) + String(character)
            if joined.count == 1, let one = joined.first {
                text[cursor - 1] = one
                return .edited
            }
        }
        text.insert(character, at: cursor)
        cursor += 1
        return .edited
    }

    private mutating func submit() -> Outcome {
        let line = self.line
        if !text.isEmpty, history.last != text { history.append(text) }
        if history.count > Self.historyMax { history.removeFirst() }
        shown = history.count
        draft = []
        text = []
        cursor = 0
        return .submitted(line)
    }

    private mutating func move(to position: Int) -> Outcome {
        guard (0...text.count).contains(position), position != cursor else { return .ignored }
        cursor = position
        return .edited
    }

    private mutating func remove(_ range: Range<Int>) -> Outcome {
        guard !range.isEmpty else { return .ignored }
        text.removeSubrange(range)
        cursor = range.lowerBound
        return .edited
    }

    private var wordStart: Int {
        var position = cursor
        while position > 0, text[position - 1].isWhitespace { position -= 1 }
        while position > 0, !text[position - 1].isWhitespace { position -= 1 }
        return position
    }

    private mutating func recall(_ index: Int) -> Outcome {
        guard (0...history.count).contains(index), index != shown else { return .ignored }
        if shown == history.count { draft = text }
        shown = index
        text = index == history.count ? draft : history[index]
        cursor = text.count
        return .edited
    }

    /// What fits into one row of the terminal: the part of the line around the cursor, and the cursor's column in it. One row, so that
    /// drawing it anew never has to guess how the terminal wrapped it.
    func visible(columns: Int) -> (text: String, column: Int) {
        // The last column stays free: a cursor behind it would wrap.
        let room = max(2, columns - 1)
        var start = cursor
        var before = 0
        while start > 0 {
            let width = DisplayWidth.of(text[start - 1])
            if before + width > room { break }
            before += width
            start -= 1
        }
        var end = cursor
        var total = before
        while end < text.count {
            let width = DisplayWidth.of(text[end])
            if total + width > room { break }
            total += width
            end += 1
        }
        return (String(text[start..<end]), before)
    }
}
