#if Cluster
/// How long to wait before the next attempt to connect: doubles from 20 ms to a second, with jitter so that nodes do not come
/// back all at once.
struct RedisBackoff {
    private static let initial = Duration.milliseconds(20)
    private static let max = Duration.seconds(1)

    private var ceiling = initial

    mutating func next(using random: inout any RandomNumberGenerator) -> Duration {
        defer { ceiling = min(ceiling * 2, Self.max) }
        return ceiling * Double.random(in: 0.5...1, using: &random)
    }

    mutating func succeeded() { ceiling = Self.initial }
}
#endif
