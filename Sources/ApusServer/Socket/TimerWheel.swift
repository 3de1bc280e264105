/// Deadlines of many connections for the price of one timer: a ring of seconds, each with those that are due in it.
/// A deadline that moves is not moved here; who is due is asked when the slot comes up, and put back if it has time left.
struct TimerWheel<Element> {
    private var slots: [[Element]]
    private(set) var tick = 0

    /// - Parameter delayMax: the furthest deadline, in ticks; further ones come up early and are put back.
    init(delayMax: Int) { slots = Array(repeating: [], count: max(1, delayMax) + 1) }

    mutating func insert(_ element: Element, at deadline: Int) {
        let delay = min(max(deadline - tick, 1), slots.count - 1)
        slots[(tick + delay) % slots.count].append(element)
    }

    /// The next tick; returns whose slot it is.
    mutating func advance() -> [Element] {
        tick += 1
        let index = tick % slots.count
        let due = slots[index]
        slots[index] = []
        return due
    }
}
