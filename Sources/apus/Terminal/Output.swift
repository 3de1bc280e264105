import Foundation

/// The two outputs of a command: data on stdout, everything else on stderr.
enum Output {
    /// Writes one line of data and flushes it. A reader that went away (`apus tail | head`) ends the program quietly.
    static func line(_ text: String) {
        do {
            try FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8))
        } catch {
            exit(1)
        }
    }

    /// Writes one line for people. A closed stderr is no reason to stop.
    static func note(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }

    /// Writes to stderr as it is, without an end of line.
    static func noteRaw(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
    }

    static var noteIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}
