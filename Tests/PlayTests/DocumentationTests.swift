import Foundation
import Testing

@Suite("Documentation says what the code says")
struct DocumentationTests {
    private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private func read(_ path: String) throws -> String { try String(contentsOf: root.appending(path: path), encoding: .utf8) }

    @Test("The example of the README, in each language, is the one that the tests compile", arguments: ["README.md", "README.zh-CN.md"])
    func example(document: String) throws {
        let source = try read("Tests/ApusClientTests/ReadmeExample.swift")
        let example = try #require(source.firstMatch(of: /README-EXAMPLE-BEGIN\n((?:.|\n)*?)\n\/\/ README-EXAMPLE-END/)).output.1
        #expect(try read(document).contains("```swift\n\(example)\n```"))
    }

    @Test(
        "Links from the documents lead to files that exist",
        arguments: ["README.md", "README.zh-CN.md", "Deploy/README.md", "Docs/operations.md", "Docs/protocol.md"])
    func links(document: String) throws {
        let directory = root.appending(path: document).deletingLastPathComponent()
        for match in try read(document).matches(of: /\]\(([^)#:]+)(?:#[^)]*)?\)/) {
            let target = directory.appending(path: String(match.output.1)).standardizedFileURL
            #expect(FileManager.default.fileExists(atPath: target.path), "\(document) links to \(match.output.1)")
        }
    }
}
