import ApusProtocol

/// One element of a small document: what S3 answers. Namespaces and attributes are passed over.
struct XMLElement: Hashable {
    var name: String
    /// The character data directly inside.
    var text = ""
    var children: [XMLElement] = []

    func first(_ name: String) -> XMLElement? { children.first { $0.name == name } }

    /// The text of the first child of that name.
    subscript(_ name: String) -> String? { first(name)?.text }
}

/// Reads the XML of an object store's answers: elements, text, comments, the five named entities and character references. A document type,
/// which is where the dangers of XML are, is refused; so is nesting deeper than ``depthMax``.
struct XMLReader {
    static let depthMax = 16

    private var rest: Substring.UTF8View

    /// - Throws: ``ApusError`` `store_unavailable`.
    static func read(_ text: String) throws -> XMLElement {
        var reader = XMLReader(rest: Substring(text).utf8)
        try reader.skipMisc()
        guard reader.rest.first == UInt8(ascii: "<") else { throw malformed("no element") }
        let root = try reader.element(depth: 1)
        try reader.skipMisc()
        guard reader.rest.isEmpty else { throw malformed("something after the document") }
        return root
    }

    private static func malformed(_ what: String) -> ApusError {
        ApusError(.storeUnavailable, "the object store's answer cannot be read: \(what)")
    }

    private mutating func element(depth: Int) throws -> XMLElement {
        guard depth <= Self.depthMax else { throw Self.malformed("nested too deeply") }
        guard skip("<") else { throw Self.malformed("no element") }
        let tag = try take(through: ">")
        if tag.hasSuffix("/") { return XMLElement(name: try Self.name(tag.dropLast())) }
        var element = XMLElement(name: try Self.name(tag[...]))
        while true {
            element.text += try Self.decoded(try takeText())
            if skip("<!--") {
                _ = try take(through: "-->")
            } else if skip("<![CDATA[") {
                element.text += try take(through: "]]>")
            } else if skip("</") {
                guard try Self.name(try take(through: ">")[...]) == element.name else { throw Self.malformed("tags that cross") }
                return element
            } else {
                element.children.append(try self.element(depth: depth + 1))
            }
        }
    }

    /// The declaration, comments and white space around the root.
    private mutating func skipMisc() throws {
        while true {
            rest = rest.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
            if skip("<?") {
                _ = try take(through: "?>")
            } else if skip("<!--") {
                _ = try take(through: "-->")
            } else {
                return
            }
        }
    }

    private mutating func skip(_ text: StaticString) -> Bool {
        guard rest.starts(with: String(describing: text).utf8) else { return false }
        rest = rest.dropFirst(text.utf8CodeUnitCount)
        return true
    }

    private mutating func takeText() throws -> String {
        guard let end = rest.firstIndex(of: UInt8(ascii: "<")) else { throw Self.malformed("an element does not end") }
        defer { rest = rest[end...] }
        return String(Substring(rest[..<end]))
    }

    private mutating func take(through end: StaticString) throws -> String {
        let mark = Array(String(describing: end).utf8)
        var index = rest.startIndex
        while let start = rest[index...].firstIndex(of: mark[0]) {
            if rest[start...].starts(with: mark) {
                defer { rest = rest[start...].dropFirst(mark.count) }
                return String(Substring(rest[..<start]))
            }
            index = rest.index(after: start)
        }
        throw Self.malformed("it ends too early")
    }

    /// The local name in a tag, without its attributes.
    private static func name(_ tag: Substring) throws -> String {
        let full = tag.prefix { !$0.isWhitespace }
        let local = full.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).last ?? ""
        guard let first = local.first, first.isLetter || first == "_" else { throw malformed("<\(full.prefix(20))>") }
        return String(local)
    }

    private static func decoded(_ text: String) throws -> String {
        guard text.contains("&") else { return text }
        var pieces = text.split(separator: "&", omittingEmptySubsequences: false)[...]
        var result = String(pieces.removeFirst())
        for piece in pieces {
            guard let semicolon = piece.firstIndex(of: ";") else { throw malformed("an ampersand") }
            result.append(try character(piece[..<semicolon]))
            result += piece[piece.index(after: semicolon)...]
        }
        return result
    }

    private static func character(_ entity: Substring) throws -> Character {
        switch entity {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        default:
            let number =
                entity.hasPrefix("#x") ? UInt32(entity.dropFirst(2), radix: 16) : entity.hasPrefix("#") ? UInt32(entity.dropFirst()) : nil
            guard let scalar = number.flatMap(UnicodeScalar.init) else { throw malformed("the entity \(entity.prefix(20))") }
            return Character(scalar)
        }
    }
}
