extension ConfigurationKey {
    /// The settings as `apus serve --help` shows them.
    static var help: String {
        let config = "  --config FILE  (or APUS_CONFIG)\n      A YAML (.yaml, .yml) or JSON (.json) file with the settings below.\n"
        return config + table.map(\.helpEntry).joined()
    }

    private var helpEntry: String {
        let value = defaultText.isEmpty ? "none" : defaultText
        return """
              --\(flag) \(placeholder)  (or \(environment); in a file \(name))
                  \(meaning)\(isLive ? " May change while the server runs." : "")
                  Permitted: \(permitted). Default: \(value).

            """
    }

    /// The settings as a table in Markdown, for Docs/operations.md.
    static var markdown: String {
        let head = """
            | in a file | command line | environment | default | permitted | meaning |
            |---|---|---|---|---|---|

            """
        return head + table.map(\.markdownRow).joined()
    }

    private var markdownRow: String {
        let value = defaultText.isEmpty ? "" : "`\(defaultText)`"
        return "| `\(name)` | `--\(flag)` | `\(environment)` | \(value) | \(permitted) | \(meaning)\(isLive ? " *Live.*" : "") |\n"
    }
}
