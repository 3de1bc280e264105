import Crypto
import Foundation
import NIOCore

/// The server's side of the opening handshake (RFC 6455 section 4.2), parsed from whatever pieces arrive.
struct WebSocketHandshake {
    enum Outcome: Equatable {
        case needsMore
        /// Write the response; what the client sent after its request is in `rest`.
        case accepted(response: ByteBuffer, subprotocol: String?, rest: ByteBuffer)
        /// Write the response and close.
        case refused(response: ByteBuffer)
    }

    struct Policy: Sendable {
        var path: String
        /// The server takes the first of these that the client offers. Empty: none is needed.
        var subprotocols: [String]
        var requestBytesMax = 8192
    }

    private let policy: Policy
    private var buffer = ByteBuffer()

    init(policy: Policy) { self.policy = policy }

    mutating func feed(_ bytes: ByteBuffer) -> Outcome {
        var bytes = bytes
        buffer.writeBuffer(&bytes)
        let view = buffer.readableBytesView
        guard let end = Self.endOfHead(view) else {
            return view.count > policy.requestBytesMax
                ? .refused(response: Self.response("431 Request Header Fields Too Large")) : .needsMore
        }
        guard end - view.startIndex <= policy.requestBytesMax else {
            return .refused(response: Self.response("431 Request Header Fields Too Large"))
        }
        let head = String(decoding: view[..<end], as: UTF8.self)
        buffer.moveReaderIndex(to: end)
        return answer(head)
    }

    /// The index after the blank line.
    private static func endOfHead(_ view: ByteBufferView) -> Int? {
        var index = view.startIndex
        while index + 4 <= view.endIndex {
            if view[index + 3] != 0x0A {
                index += 1
            } else if view[index] == 0x0D, view[index + 1] == 0x0A, view[index + 2] == 0x0D {
                return index + 4
            } else {
                index += 1
            }
        }
        return nil
    }

    private func answer(_ head: String) -> Outcome {
        guard let request = Request(head) else { return .refused(response: Self.response("400 Bad Request")) }
        guard request.method == "GET" else { return .refused(response: Self.response("405 Method Not Allowed", "Allow: GET")) }
        guard request.path == policy.path else { return .refused(response: Self.response("404 Not Found")) }
        guard request.tokens("upgrade").contains("websocket"), request.tokens("connection").contains("upgrade") else {
            return .refused(response: Self.response("426 Upgrade Required", "Upgrade: websocket"))
        }
        guard request.first("sec-websocket-version") == "13" else {
            return .refused(response: Self.response("426 Upgrade Required", "Sec-WebSocket-Version: 13"))
        }
        guard let key = request.first("sec-websocket-key"), Data(base64Encoded: key)?.count == 16 else {
            return .refused(response: Self.response("400 Bad Request"))
        }
        let offered = request.list("sec-websocket-protocol")
        let chosen = policy.subprotocols.first { offered.contains($0) }
        if chosen == nil, !policy.subprotocols.isEmpty {
            return .refused(response: Self.response("400 Bad Request", "Apus-Subprotocols: \(policy.subprotocols.joined(separator: ", "))"))
        }
        let digest = Insecure.SHA1.hash(data: Data((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
        var response = ByteBuffer()
        response.writeString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        response.writeString("Sec-WebSocket-Accept: \(Data(digest).base64EncodedString())\r\n")
        if let chosen { response.writeString("Sec-WebSocket-Protocol: \(chosen)\r\n") }
        response.writeString("\r\n")
        return .accepted(response: response, subprotocol: chosen, rest: buffer)
    }

    private static func response(_ status: String, _ field: String? = nil) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeString("HTTP/1.1 \(status)\r\nConnection: close\r\nContent-Length: 0\r\n")
        if let field { buffer.writeString(field + "\r\n") }
        buffer.writeString("\r\n")
        return buffer
    }

    private struct Request {
        var method: Substring
        var path: Substring
        var fields: [(name: String, value: String)]

        init?(_ head: String) {
            var lines = head.split(separator: "\r\n", omittingEmptySubsequences: true)
            guard !lines.isEmpty else { return nil }
            let parts = lines.removeFirst().split(separator: " ", omittingEmptySubsequences: false)
            guard parts.count == 3, parts[2] == "HTTP/1.1" else { return nil }
            method = parts[0]
            path = parts[1].prefix { $0 != "?" }
            fields = []
            for line in lines {
                guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else { return nil }
                let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
                fields.append((line[..<colon].lowercased(), value))
            }
        }

        func first(_ name: String) -> String? { fields.first { $0.name == name }?.value }

        func list(_ name: String) -> [String] {
            fields.filter { $0.name == name }.flatMap { $0.value.split(separator: ",") }.map { $0.trimmingCharacters(in: .whitespaces) }
        }

        func tokens(_ name: String) -> [String] { list(name).map { $0.lowercased() } }
    }
}
