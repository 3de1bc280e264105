import Crypto
import Foundation
import NIOCore

/// The documents of Nacos 2.3.2: `config/src/main/java/com/alibaba/nacos/config/server/` `controller/ConfigController.java`,
/// `controller/ConfigServletInner.java`, `service/LongPollingService.java`, `utils/{MD5Util,GroupKey2,ParamUtils}.java`,
/// `paramcheck/ConfigListenerHttpParamExtractor.java`, `exception/GlobalExceptionHandler.java`.
struct NacosDocuments {
    struct Key: Hashable {
        var dataID: String
        var group: String
        var tenant: String
    }

    struct Listener {
        var md5s: [Key: String]
        var answer: EventLoopPromise<NacosServer.Answer>
    }

    private var documents: [Key: String] = [:]
    private var listeners: [Int: Listener] = [:]
    private var nextListener = 0

    private func key(_ request: NacosRequest) throws -> Key {
        let dataID = try request.springParameter("dataId")
        let group = try request.springParameter("group")
        let tenant = request.optional("tenant", "")
        try NacosParameterCheck.dataID(dataID)
        try NacosParameterCheck.group(group)
        try NacosParameterCheck.namespace(tenant)
        // `ParamUtils.checkParam`.
        guard !dataID.isEmpty else { throw NacosRefusal(400, "caused: invalid dataId : \(dataID);") }
        guard !group.isEmpty else { throw NacosRefusal(400, "caused: invalid group : \(group);") }
        return Key(dataID: dataID, group: group, tenant: tenant)
    }

    /// `NamespaceUtil.processNamespaceParameter`, which the listener does not use.
    private func processed(_ key: Key) -> Key {
        var key = key
        if ["public", "null"].contains(key.tenant.lowercased()) { key.tenant = "" }
        return key
    }

    func get(_ request: NacosRequest) throws -> NacosServer.Answer {
        let key = processed(try key(request))
        guard let text = documents[key] else { throw NacosRefusal(404, "config data not exist\n") }
        return NacosServer.Answer(status: 200, text: text, headers: [("Content-MD5", Self.md5(text)), ("Config-Type", "text")])
    }

    mutating func publish(_ request: NacosRequest) throws -> NacosServer.Answer {
        let key = try key(request)
        let content = try request.springParameter("content")
        guard !content.trimmingCharacters(in: .whitespacesAndNewlines).isEmpty else {
            throw NacosRefusal(400, "caused: content is blank : \(content);")
        }
        set(key, content)
        return NacosServer.Answer(status: 200, text: "true")
    }

    mutating func delete(_ request: NacosRequest) throws -> NacosServer.Answer {
        set(try key(request), nil)
        return NacosServer.Answer(status: 200, text: "true")
    }

    /// `DataChangeTask`: every listener of this key is answered, whatever MD5 it has.
    private mutating func set(_ key: Key, _ content: String?) {
        documents[key] = content
        for (number, listener) in listeners where listener.md5s[key] != nil {
            listeners[number] = nil
            listener.answer.succeed(Self.changed([key]))
        }
    }

    /// Answers at once when something differs; else the answer is kept, and its number given.
    mutating func listen(_ request: NacosRequest, _ answer: EventLoopPromise<NacosServer.Answer>) throws -> Int? {
        // Decoded a second time: once by the container, once by the controller.
        guard let text = request.parameters["Listening-Configs"]?.replacing("+", with: " ").removingPercentEncoding,
            !text.trimmingCharacters(in: .whitespaces).isEmpty
        else { throw NacosRefusal(400, "caused: invalid probeModify;") }
        var md5s: [Key: String] = [:]
        for line in text.split(separator: "\u{1}", omittingEmptySubsequences: true) {
            let words = line.split(separator: "\u{2}", omittingEmptySubsequences: false).map(String.init)
            guard 3...4 ~= words.count else { throw NacosRefusal(400, "caused: invalid probeModify;") }
            try NacosParameterCheck.dataID(words[0])
            try NacosParameterCheck.group(words[1])
            if words.count == 4 { try NacosParameterCheck.namespace(words[3]) }
            md5s[Key(dataID: words[0], group: words[1], tenant: words.count == 4 ? words[3] : "")] = words[2]
        }
        guard text.hasSuffix("\u{1}") else {
            // What follows the last separator is not read.
            answer.succeed(NacosServer.Answer(status: 200, text: ""))
            return nil
        }
        let changed = md5s.filter { (documents[$0.key].map(Self.md5) ?? "") != $0.value }.map(\.key)
        // `isSupportLongPolling`: without the header it is a poll.
        guard changed.isEmpty, request.headers["long-pulling-timeout"] != nil else {
            answer.succeed(Self.changed(changed))
            return nil
        }
        nextListener += 1
        listeners[nextListener] = Listener(md5s: md5s, answer: answer)
        return nextListener
    }

    mutating func timeOut(_ number: Int) {
        listeners.removeValue(forKey: number)?.answer.succeed(NacosServer.Answer(status: 200, text: ""))
    }

    mutating func failListeners() {
        for listener in listeners.values { listener.answer.fail(ChannelError.ioOnClosedChannel) }
        listeners = [:]
    }

    var listenerCount: Int { listeners.count }

    /// `MD5Util.compareMd5ResultString`, with the line feed of `println`.
    private static func changed(_ keys: [Key]) -> NacosServer.Answer {
        let text = keys.map { "\($0.dataID)%02\($0.group)" + ($0.tenant.isEmpty ? "" : "%02\($0.tenant)") + "%01" }.joined()
        return NacosServer.Answer(status: 200, text: text + "\n")
    }

    static func md5(_ text: String) -> String {
        Insecure.MD5.hash(data: Data(text.utf8)).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
