extension Duration {
    /// Whole ones; what is left is cut off.
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
