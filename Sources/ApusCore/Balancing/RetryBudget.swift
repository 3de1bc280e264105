/// Bounds retries to a share of the calls, so that they cannot multiply the load of nodes that are slow because they are
/// overloaded. A pure value.
public struct RetryBudget: Sendable {
    /// What a call adds; one retry costs 1.
    private let ratio: Double
    private let max: Double
    private var left: Double

    /// - Parameters:
    ///   - ratio: retries per call in the long run.
    ///   - max: what may be saved up, and what there is at first.
    public init(ratio: Double = 0.2, max: Int = 20) {
        self.ratio = ratio
        self.max = Double(max)
        left = Double(max)
    }

    public mutating func noteCall() { left = min(max, left + ratio) }

    public mutating func takeRetry() -> Bool {
        guard left >= 1 else { return false }
        left -= 1
        return true
    }
}
