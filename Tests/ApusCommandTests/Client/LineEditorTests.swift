import Testing

@testable import apus

@Suite struct LineEditorTests {
    private func type(_ text: String, into editor: inout LineEditor) {
        for character in text { _ = editor.press(.character(character)) }
    }

    @Test("Characters are inserted and removed where the cursor is")
    func editing() {
        var editor = LineEditor()
        type("hxllo", into: &editor)
        for _ in 0..<3 { _ = editor.press(.left) }
        #expect(editor.press(.backspace) == .edited)
        type("e", into: &editor)
        #expect(editor.line == "hello")
        #expect(editor.press(.home) == .edited)
        #expect(editor.press(.backspace) == .ignored)
        #expect(editor.press(.delete) == .edited)
        #expect(editor.line == "ello")
        #expect(editor.press(.end) == .edited)
        #expect(editor.press(.right) == .ignored)
    }

    @Test("Backspace removes one character of any width, an emoji of several scalars too")
    func wide() {
        var editor = LineEditor()
        for scalar in "你e\u{301}👩‍👩‍👧".unicodeScalars { _ = editor.press(.character(Character(scalar))) }
        #expect(editor.text.count == 3)
        _ = editor.press(.backspace)
        #expect(editor.line == "你é")
        _ = editor.press(.backspace)
        _ = editor.press(.backspace)
        #expect(editor.line.isEmpty)
    }

    @Test("Enter gives the line and begins a new one; up and down bring lines back and keep the draft")
    func history() {
        var editor = LineEditor()
        type("one", into: &editor)
        #expect(editor.press(.enter) == .submitted("one"))
        type("two", into: &editor)
        #expect(editor.press(.enter) == .submitted("two"))
        type("dra", into: &editor)
        _ = editor.press(.up)
        #expect(editor.line == "two")
        _ = editor.press(.up)
        #expect(editor.line == "one")
        #expect(editor.press(.up) == .ignored)
        _ = editor.press(.down)
        _ = editor.press(.down)
        #expect(editor.line == "dra")
    }

    @Test("Ctrl-C clears a line and quits on an empty one; Ctrl-D quits only there")
    func quit() {
        var editor = LineEditor()
        type("text", into: &editor)
        #expect(editor.press(.endOfInput) == .ignored)
        #expect(editor.press(.interrupt) == .edited)
        #expect(editor.line.isEmpty)
        #expect(editor.press(.interrupt) == .quit)
        #expect(editor.press(.endOfInput) == .quit)
    }

    @Test("Ctrl-U, Ctrl-K and Ctrl-W remove to the start, to the end and a word")
    func kill() {
        var editor = LineEditor()
        type("one two  three", into: &editor)
        _ = editor.press(.killWord)
        #expect(editor.line == "one two  ")
        _ = editor.press(.killWord)
        #expect(editor.line == "one ")
        _ = editor.press(.left)
        _ = editor.press(.killToEnd)
        #expect(editor.line == "one")
        _ = editor.press(.killToStart)
        #expect(editor.line.isEmpty)
    }

    @Test("What is drawn fits into the row, holds the cursor, and never cuts a wide character in two", arguments: 4...30)
    func visible(columns: Int) {
        var editor = LineEditor()
        type("ab你好cd世界ef和平gh", into: &editor)
        for _ in 0...editor.text.count {
            let (text, column) = editor.visible(columns: columns)
            #expect(DisplayWidth.of(text) < columns)
            #expect((0..<columns).contains(column))
            #expect(editor.line.contains(text))
            #expect(DisplayWidth.of(text) >= column)
            _ = editor.press(.left)
        }
    }

    @Test(
        "Widths: Latin one, CJK and emoji two, combining marks none",
        arguments: [
            ("abc", 3), ("你好", 4), ("é", 1), ("e\u{301}", 1), ("한글", 4), ("カナ", 4), ("👍", 2), ("👩‍👩‍👧", 2), ("❤️", 2), ("、。", 4), ("→", 1),
        ])
    func width(text: String, columns: Int) {
        #expect(DisplayWidth.of(text) == columns)
    }
}

@Suite struct KeyDecoderTests {
    private func keys(_ bytes: [UInt8]) -> [LineEditor.Key] {
        var decoder = KeyDecoder()
        return decoder.decode(bytes)
    }

    @Test("Arrow, home, end and delete keys of the usual terminals are known")
    func sequences() {
        let text = "\u{1B}[A\u{1B}[B\u{1B}[C\u{1B}[D\u{1B}OH\u{1B}[F\u{1B}[3~\u{1B}[1~\u{1B}[4~\u{1B}[1;5C"
        #expect(keys(Array(text.utf8)) == [.up, .down, .right, .left, .home, .end, .delete, .home, .end, .right])
    }

    @Test("Sequences that mean nothing here are swallowed whole")
    func unknown() {
        #expect(keys(Array("\u{1B}[15~\u{1B}[?1;2cx\u{1B}fy".utf8)) == [.character("x"), .character("y")])
    }

    @Test("Control characters are keys")
    func control() {
        #expect(keys([0x7F, 0x08, 0x0D, 0x03, 0x04, 0x15]) == [.backspace, .backspace, .enter, .interrupt, .endOfInput, .killToStart])
    }

    @Test("A character or sequence that comes byte by byte is the same as one that comes at once")
    func pieces() {
        let bytes = Array("你👍\u{1B}[Aé".utf8)
        var decoder = KeyDecoder()
        let inPieces = bytes.flatMap { decoder.decode([$0]) }
        #expect(inPieces == keys(bytes))
        #expect(inPieces == [.character("你"), .character("👍"), .up, .character("é")])
    }

    @Test(
        "Bytes that are no UTF-8 are dropped and what follows is read",
        arguments: [[0xFF], [0xC3, 0x28], [0xE4, 0xBD, 0x41], [0x80]] as [[UInt8]])
    func invalid(bytes: [UInt8]) {
        #expect(keys(bytes + [UInt8(ascii: "z")]).last == .character("z"))
    }
}
