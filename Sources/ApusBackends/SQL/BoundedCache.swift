/// A cache that holds at most a given cost and forgets about the least recently used. Two generations instead of a list:
/// what is used moves to the young one; when that holds half the cost, the old one is dropped and the young one becomes old.
struct BoundedCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]
    private var youngCost = 0
    private let costMax: Int
    private let cost: @Sendable (Value) -> Int

    init(costMax: Int, cost: @escaping @Sendable (Value) -> Int) {
        self.costMax = costMax
        self.cost = cost
    }

    var count: Int { young.count + old.count }

    mutating func value(for key: Key) -> Value? {
        if let value = young[key] { return value }
        guard let value = old.removeValue(forKey: key) else { return nil }
        insert(value, for: key)
        return value
    }

    mutating func insert(_ value: Value, for key: Key) {
        old[key] = nil
        let replaced = young.updateValue(value, forKey: key)
        youngCost += cost(value) - (replaced.map(cost) ?? 0)
        guard youngCost > costMax / 2 else { return }
        old = young
        young = [:]
        youngCost = 0
    }

    mutating func removeAll() {
        young = [:]
        old = [:]
        youngCost = 0
    }
}
