import Foundation

/// What the operating system says about the server's process; Linux on the same machine only.
struct ServerProbe: Sendable {
    struct Sample: Sendable {
        var residentBytes: Int
        var cpuSeconds: Double
    }

    let pid: Int32

    func sample() throws -> Sample {
        Sample(residentBytes: try residentBytes(), cpuSeconds: try cpuSeconds())
    }

    private func residentBytes() throws -> Int {
        guard let bytes = Self.residentBytes(status: try read("status")) else { throw BenchFailure("no VmRSS in /proc/\(pid)/status") }
        return bytes
    }

    private func cpuSeconds() throws -> Double {
        guard let ticks = Self.cpuTicks(stat: try read("stat")) else { throw BenchFailure("cannot read /proc/\(pid)/stat") }
        return Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private func read(_ file: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/\(file)") else {
            throw BenchFailure("cannot read /proc/\(pid)/\(file): --server-pid needs the id of a process on this Linux machine")
        }
        return String(decoding: data, as: UTF8.self)
    }

    static func residentBytes(status: String) -> Int? {
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }) else { return nil }
        return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
    }

    /// User and system time, fields 14 and 15; the name of the program, field 2, may contain anything but ends with the last `)`.
    static func cpuTicks(stat: String) -> Int? {
        guard let name = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: name)...].split(separator: " ")
        guard fields.count > 12, let user = Int(fields[11]), let system = Int(fields[12]) else { return nil }
        return user + system
    }
}
