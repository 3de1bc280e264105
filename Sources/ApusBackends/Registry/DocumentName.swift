import ApusProtocol

/// What every configuration centre takes as the name of a document: Nacos's `dataId` (`ParamCheckRule.dataIdPatternString`), which is
/// also the name of a file and of a node in ZooKeeper.
package enum DocumentName {
    static let charactersMax = 256

    /// - Throws: ``ApusError`` `invalid_argument`.
    package static func check(_ name: String) throws {
        let isPermitted = name.allSatisfy { ($0.isASCII && ($0.isLetter || $0.isNumber)) || "-_:.".contains($0) }
        guard isPermitted, !name.isEmpty, name.count <= charactersMax, name != ".", name != ".." else {
            throw ApusError(.invalidArgument, "'\(name)' is no name of a document: letters, digits and any of -_:.")
        }
    }
}
