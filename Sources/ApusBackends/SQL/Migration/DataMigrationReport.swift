#if Cluster
/// What a single node has and what the cluster's database has.
public struct DataMigrationReport: Codable, Sendable, Hashable {
    public struct Table: Codable, Sendable, Hashable {
        public var name: String
        public var sourceRows: Int
        public var targetRows: Int
        /// SHA-256 over all rows in the order of the key, in hexadecimal digits.
        public var sourceHash: String
        public var targetHash: String
        /// The key of the first row that is not the same on both sides, or is on one only.
        public var firstDifference: String?

        public var isEqual: Bool { sourceRows == targetRows && sourceHash == targetHash }
    }

    public var tables: [Table]
    /// Whether nodes may start on the target.
    public var isFinished: Bool

    public var isEqual: Bool { tables.allSatisfy(\.isEqual) }
}
#endif
