#if Cluster
import CHiredis

/// Turns bytes into replies: hiredis's reader, with bounds. Not thread-safe. After an error it is of no further use, since nobody
/// knows where the next reply begins.
final class RESPParser {
    struct Limits {
        /// Of a reply that is not complete yet.
        var bytesMax = 64 << 20
        /// All elements of one reply, nested ones included.
        var elementsMax = 1 << 20
        /// hiredis has a bound of its own, which differs between versions.
        var depthMax = 7
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let limits: Limits
    private let reader: UnsafeMutablePointer<redisReader>
    private let builder: Builder

    init(limits: Limits = Limits()) {
        self.limits = limits
        builder = Builder(limits)
        guard let reader = redisReaderCreateWithFunctions(Self.functions) else { preconditionFailure("out of memory") }
        self.reader = reader
        reader.pointee.privdata = Unmanaged.passUnretained(builder).toOpaque()
    }

    deinit { redisReaderFree(reader) }

    /// Takes the next bytes; then call ``next()`` until it returns nil.
    func feed(_ bytes: UnsafeRawBufferPointer) throws {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        let unread = reader.pointee.len - reader.pointee.pos
        guard unread + bytes.count <= limits.bytesMax else { throw Failure(description: "a reply of more than \(limits.bytesMax) bytes") }
        guard redisReaderFeed(reader, base.assumingMemoryBound(to: CChar.self), bytes.count) == REDIS_OK else { throw failure() }
    }

    /// Nil: not complete yet.
    func next() throws -> RESPValue? {
        var reply: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &reply) == REDIS_OK else { throw failure() }
        return reply == nil ? nil : builder.finish()
    }

    private func failure() -> Failure {
        if let refusal = builder.refusal { return Failure(description: refusal) }
        return withUnsafeBytes(of: reader.pointee.errstr) { text in
            Failure(description: String(decoding: text.prefix { $0 != 0 }, as: UTF8.self))
        }
    }

    /// hiredis asks for an object per value and only checks that it is not NULL; the values themselves are put together by the
    /// ``Builder``, which is every object. So there is nothing to free on the C side.
    ///
    /// Unsafe: written once, here, before anybody can see it, and never freed; hiredis only reads it.
    private nonisolated(unsafe) static let functions: UnsafeMutablePointer<redisReplyObjectFunctions> = {
        let functions = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 1)
        functions.initialize(to: redisReplyObjectFunctions())
        functions.pointee.createString = { task, bytes, count in
            Builder.of(task)?.string(isError: task?.pointee.type == REDIS_REPLY_ERROR, UnsafeRawBufferPointer(start: bytes, count: count))
        }
        functions.pointee.createArray = { task, count in Builder.of(task)?.array(Int(count)) }
        functions.pointee.createInteger = { task, value in Builder.of(task)?.add(.integer(value)) }
        functions.pointee.createNil = { task in Builder.of(task)?.add(.null) }
        functions.pointee.freeObject = { _ in }
        chiredis_refuse_resp3(functions)
        return functions
    }()
}

/// Puts a reply together out of its values in the order of the stream.
private final class Builder {
    private struct OpenArray {
        var remaining: Int
        var elements: [RESPValue]
    }

    private let limits: RESPParser.Limits
    private var open: [OpenArray] = []
    private var finished: RESPValue?
    private var elements = 0
    private(set) var refusal: String?

    init(_ limits: RESPParser.Limits) { self.limits = limits }

    static func of(_ task: UnsafePointer<redisReadTask>?) -> Builder? {
        guard let data = task?.pointee.privdata else { return nil }
        return Unmanaged<Builder>.fromOpaque(data).takeUnretainedValue()
    }

    func finish() -> RESPValue? {
        defer { (finished, elements) = (nil, 0) }
        return finished
    }

    func string(isError: Bool, _ bytes: UnsafeRawBufferPointer) -> UnsafeMutableRawPointer {
        add(isError ? .error(String(decoding: bytes, as: UTF8.self)) : .string(Array(bytes)))
    }

    /// Nil: refused.
    func array(_ count: Int) -> UnsafeMutableRawPointer? {
        guard count >= 0, count <= limits.elementsMax - elements else {
            return refuse("a reply of more than \(limits.elementsMax) elements")
        }
        guard open.count < limits.depthMax else { return refuse("arrays nested deeper than \(limits.depthMax)") }
        elements += count
        guard count > 0 else { return add(.array([])) }
        // The count is the other side's word: memory is taken as elements arrive.
        var elements: [RESPValue] = []
        elements.reserveCapacity(min(count, 64))
        open.append(OpenArray(remaining: count, elements: elements))
        return object
    }

    @discardableResult
    func add(_ value: RESPValue) -> UnsafeMutableRawPointer {
        var value = value
        while var array = open.popLast() {
            array.elements.append(value)
            array.remaining -= 1
            guard array.remaining == 0 else {
                open.append(array)
                return object
            }
            value = .array(array.elements)
        }
        finished = value
        return object
    }

    private var object: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    private func refuse(_ why: String) -> UnsafeMutableRawPointer? {
        refusal = why
        return nil
    }
}
#endif
