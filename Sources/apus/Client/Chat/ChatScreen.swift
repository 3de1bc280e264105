import Foundation

/// Where a chat shows its lines and where it gets the typed ones from.
protocol ChatScreen: Sendable {
    /// Shows whole lines above what is being typed.
    func show(_ text: String) async
    /// What stands before the line being typed.
    func setPrompt(_ prompt: String) async
    /// The next thing that the person did; nil: the input is over.
    func next() async throws -> ChatKeystroke?
    /// Whether the prompt is seen, so that what it says need not be shown as lines.
    var showsPrompt: Bool { get }
}

enum ChatKeystroke: Equatable, Sendable {
    case line(String)
    /// The line being typed has changed to this.
    case typing(String)
}

/// Lines in, lines out: for pipes and scripts.
struct PlainScreen: ChatScreen {
    private let lines = LineReader(descriptor: STDIN_FILENO)

    let showsPrompt = false

    func show(_ text: String) async { Output.line(text) }

    func setPrompt(_ prompt: String) async {}

    func next() async throws -> ChatKeystroke? {
        try await lines.nextLine().map { .line(String(decoding: $0, as: UTF8.self)) }
    }
}

/// A terminal in raw mode: the line being typed stays at the bottom and is drawn again after each line shown. Uses nothing but
/// "erase to the end of the line" and "cursor right", which every terminal has.
actor TerminalScreen: ChatScreen {
    nonisolated let showsPrompt = true

    private let before: termios
    private let input = ByteReader(descriptor: STDIN_FILENO)
    private var decoder = KeyDecoder()
    private var editor = LineEditor()
    private var prompt = ""
    private var keys: [LineEditor.Key] = []
    private var isOver = false

    /// Nil when stdin or stdout is no terminal.
    init?() {
        var settings = termios()
        guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1, tcgetattr(STDIN_FILENO, &settings) == 0 else { return nil }
        before = settings
        // Signals become keys, so that Ctrl-C gives the terminal back as it was.
        settings.c_lflag &= ~tcflag_t(ECHO | ICANON | IEXTEN | ISIG)
        settings.c_iflag &= ~tcflag_t(ICRNL | IXON | INLCR | IGNCR)
        guard tcsetattr(STDIN_FILENO, TCSAFLUSH, &settings) == 0 else { return nil }
    }

    /// Gives the terminal back as it was.
    func restore() {
        var settings = before
        write("\r\u{1B}[K")
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &settings)
    }

    func show(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n")
        write("\r\u{1B}[K" + lines + "\r\n" + inputLine)
    }

    func setPrompt(_ prompt: String) {
        guard prompt != self.prompt else { return }
        self.prompt = prompt
        write(inputLine)
    }

    func next() async throws -> ChatKeystroke? {
        while true {
            while !keys.isEmpty {
                switch editor.press(keys.removeFirst()) {
                case .edited:
                    write(inputLine)
                    // A paste is one change, not a thousand.
                    if keys.isEmpty { return .typing(editor.line) }
                case .submitted(let line):
                    write(inputLine)
                    return .line(line)
                case .clearScreen: write("\u{1B}[H\u{1B}[2J" + inputLine)
                case .ignored: break
                case .quit:
                    isOver = true
                    keys = []
                }
            }
            guard !isOver, let bytes = try await input.next() else { return nil }
            keys += decoder.decode(bytes)
        }
    }

    /// Erases the bottom line, draws it and puts the cursor where it is in it.
    private var inputLine: String {
        let columns = Self.columns
        // A long prompt must leave room to type.
        var shownPrompt = prompt
        while DisplayWidth.of(shownPrompt) > columns / 2, !shownPrompt.isEmpty { shownPrompt.removeFirst() }
        let width = DisplayWidth.of(shownPrompt)
        let (text, column) = editor.visible(columns: columns - width)
        let right = width + column
        return "\r\u{1B}[K" + shownPrompt + text + "\r" + (right > 0 ? "\u{1B}[\(right)C" : "")
    }

    private static var columns: Int {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return max(20, Int(size.ws_col))
    }

    private func write(_ text: String) {
        // A terminal that is gone ends the input too; there is nobody left to tell.
        try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    }
}
