import Foundation

/// Asks for a password: without echo on a terminal, or the first line of stdin where the caller says so.
enum PasswordInput {
    static func read(fromStandardInput: Bool, prompt: String) async throws -> String {
        guard fromStandardInput else { return try ask(prompt) }
        guard let line = try await LineReader(descriptor: STDIN_FILENO).nextLine(), let password = String(data: line, encoding: .utf8)
        else {
            throw CommandFailure(.data, "no password on stdin")
        }
        return password.hasSuffix("\r") ? String(password.dropLast()) : password
    }

    /// Asks twice, for a password that is about to be set.
    static func readNew(fromStandardInput: Bool, prompt: String, again: String, differ: String) async throws -> String {
        let password = try await read(fromStandardInput: fromStandardInput, prompt: prompt)
        guard !fromStandardInput else { return password }
        guard try ask(again) == password else { throw CommandFailure(.data, differ) }
        return password
    }

    private static func ask(_ prompt: String) throws -> String {
        guard isatty(STDIN_FILENO) == 1 else {
            throw CommandFailure(.data, "no terminal to ask for the password: use --password-stdin")
        }
        var before = termios()
        tcgetattr(STDIN_FILENO, &before)
        var quiet = before
        quiet.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet)
        defer {
            tcsetattr(STDIN_FILENO, TCSAFLUSH, &before)
            Output.note("")
        }
        Output.noteRaw(prompt)
        guard let line = readLine(strippingNewline: true) else { throw CommandFailure(.data, "no password was typed") }
        return line
    }
}
