import Foundation

/// The ephemeral instances of Nacos 2.3.2: `naming/src/main/java/com/alibaba/nacos/naming/` `controllers/InstanceController.java`,
/// `core/InstanceOperatorClientImpl.java`, `pojo/instance/HttpRequestInstanceBuilder.java`,
/// `core/v2/index/ServiceStorage.java`,
/// `healthcheck/heartbeat/{ClientBeatProcessorV2,UnhealthyInstanceChecker,ExpiredInstanceChecker}.java`, `utils/ServiceUtil.java`,
/// `paramcheck/Naming*HttpParamExtractor.java`, `web/ServiceNameFilter.java`; `api/…/naming/utils/NamingUtils.java`,
/// `api/…/naming/pojo/Instance.java`.
package struct NacosNaming {
    package struct Service: Hashable, Sendable {
        package var namespace: String
        package var grouped: String
    }

    package struct Instance: Sendable {
        package var ip: String
        package var port: Int
        package var cluster: String
        package var weight: Double
        package var isHealthy: Bool
        package var isEnabled: Bool
        package var metadata: [String: String]
        package var lastBeat: ContinuousClock.Instant

        func milliseconds(_ key: String, _ otherwise: Int64) -> Int64 {
            // `NamingUtils.isNumber`; anything else is the default.
            guard let text = metadata[key], !text.isEmpty, text.allSatisfy({ $0.isASCII && $0.isNumber }) else { return otherwise }
            return Int64(text) ?? otherwise
        }

        var beatInterval: Int64 { milliseconds("preserved.heart.beat.interval", 5_000) }
        var beatTimeout: Int64 { milliseconds("preserved.heart.beat.timeout", 15_000) }
        var deleteTimeout: Int64 { milliseconds("preserved.ip.delete.timeout", 30_000) }
    }

    /// By `ip:port`: a client has one instance of a service.
    private(set) var services: [Service: [String: Instance]] = [:]
    /// By `ip:port:cluster` (`InstancePublishInfo.genMetadataId`).
    private var edits: [Service: [String: Instance]] = [:]

    /// `ServiceNameFilter`, `NamingUtils.checkServiceNameFormat`.
    private func service(_ request: NacosRequest) throws -> Service {
        var name = try request.required("serviceName")
        if !name.contains("@@") { name = request.optional("groupName", "DEFAULT_GROUP") + "@@" + name }
        let parts = name.components(separatedBy: "@@")
        guard parts.count > 1, !parts[1].isEmpty else {
            throw NacosRefusal(400, "Param 'serviceName' is illegal, it should be format as 'groupName@@serviceName'")
        }
        guard !parts[0].isEmpty else { throw NacosRefusal(400, "Param 'serviceName' is illegal, groupName can't be empty") }
        try NacosParameterCheck.service(parts[1])
        try NacosParameterCheck.group(parts[0])
        try NacosParameterCheck.namespace(request.parameters["namespaceId"])
        return Service(namespace: request.optional("namespaceId", "public"), grouped: name)
    }

    /// `HttpRequestInstanceBuilder`.
    private func instance(_ request: NacosRequest) throws -> Instance {
        try NacosParameterCheck.ip(request.parameters["ip"])
        try NacosParameterCheck.port(request.parameters["port"])
        try NacosParameterCheck.cluster(request.parameters["clusterName"])
        let metadata = try metadata(request.optional("metadata", ""))
        try NacosParameterCheck.metadata(metadata)
        let ip = try request.required("ip")
        let portText = try request.required("port")
        guard let port = Int(portText) else { throw NacosRefusal(400, "For input string: \"\(portText)\"") }
        guard try boolean(request.optional("ephemeral", "true")) else {
            throw NacosRefusal(501, "this server of the tests has no persistent instances")
        }
        let weightText = request.optional("weight", "1")
        guard let weight = Double(weightText) else { throw NacosRefusal(400, "For input string: \"\(weightText)\"") }
        guard 0...10_000 ~= weight else {
            throw NacosRefusal(400, "instance format invalid: The weights range from 0.0 to 10000.0")
        }
        let instance = Instance(
            ip: ip, port: port, cluster: request.optional("clusterName", request.optional("cluster", "DEFAULT")), weight: weight,
            isHealthy: try boolean(request.optional("healthy", "true")), isEnabled: try boolean(request.optional("enabled", "true")),
            metadata: metadata, lastBeat: .now)
        // `NamingUtils.checkInstanceIsLegal`.
        guard instance.beatTimeout >= instance.beatInterval, instance.deleteTimeout >= instance.beatInterval else {
            throw NacosRefusal(400, "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.")
        }
        guard instance.cluster.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }) else {
            throw NacosRefusal(
                400, "Instance 'clusterName' should be characters with only 0-9a-zA-Z-. (current: \(instance.cluster))")
        }
        return instance
    }

    private func boolean(_ text: String) throws -> Bool {
        switch text.lowercased() {
        case "true", "on", "yes", "t", "y", "1": true
        default: false
        }
    }

    /// `UtilsAndCommons.parseMetadata`: a JSON object of texts, or `a=b,c=d`.
    private func metadata(_ text: String) throws -> [String: String] {
        guard !text.isEmpty else { return [:] }
        if let values = try? JSONDecoder().decode([String: String].self, from: Data(text.utf8)) { return values }
        var values: [String: String] = [:]
        for item in text.split(separator: ",") {
            let pair = item.split(separator: "=")
            guard pair.count == 2 else { throw NacosRefusal(400, "metadata format incorrect:" + text) }
            values[String(pair[0])] = String(pair[1])
        }
        return values
    }

    mutating func register(_ request: NacosRequest) throws -> String {
        let service = try service(request)
        let instance = try instance(request)
        services[service, default: [:]]["\(instance.ip):\(instance.port)"] = instance
        return "ok"
    }

    mutating func deregister(_ request: NacosRequest) throws -> String {
        let service = try service(request)
        let instance = try instance(request)
        services[service]?["\(instance.ip):\(instance.port)"] = nil
        return "ok"
    }

    /// A light beat; one with an instance is not understood here.
    mutating func beat(_ request: NacosRequest) throws -> String {
        let service = try service(request)
        guard request.optional("beat", "").isEmpty else {
            throw NacosRefusal(501, "this server of the tests takes light beats only")
        }
        try NacosParameterCheck.ip(request.parameters["ip"])
        try NacosParameterCheck.port(request.parameters["port"])
        let client = "\(request.optional("ip", "")):\(request.optional("port", "0"))"
        guard let interval = services[service]?[client]?.beatInterval else {
            return #"{"clientBeatInterval":5000,"code":20404,"lightBeatEnabled":true}"#
        }
        services[service]?[client]?.lastBeat = .now
        services[service]?[client]?.isHealthy = true
        return #"{"clientBeatInterval":\#(interval),"code":10200,"lightBeatEnabled":true}"#
    }

    func list(_ request: NacosRequest) throws -> String {
        let service = try service(request)
        let clusters = Set(request.optional("clusters", "").split(separator: ",").map(String.init))
        for cluster in clusters { try NacosParameterCheck.cluster(cluster) }
        let healthyOnly = request.optional("healthyOnly", "false").lowercased() == "true"
        let hosts = shown(service)
            .filter { (clusters.isEmpty || clusters.contains($0.cluster)) && $0.isEnabled && (!healthyOnly || $0.isHealthy) }
            .map { instance -> [String: Any] in
                [
                    "instanceId": "\(instance.ip)#\(instance.port)#\(instance.cluster)#\(service.grouped)", "ip": instance.ip,
                    "port": instance.port, "weight": instance.weight, "healthy": instance.isHealthy, "enabled": instance.isEnabled,
                    "ephemeral": true, "clusterName": instance.cluster, "serviceName": service.grouped, "metadata": instance.metadata,
                    "instanceHeartBeatInterval": instance.beatInterval, "instanceHeartBeatTimeOut": instance.beatTimeout,
                    "ipDeleteTimeout": instance.deleteTimeout, "instanceIdGenerator": "simple",
                ]
            }
        let info: [String: Any] = [
            "name": service.grouped, "groupName": service.grouped.components(separatedBy: "@@")[0],
            "clusters": request.optional("clusters", ""), "cacheMillis": 10_000, "hosts": hosts,
            "lastRefTime": Int64(Date().timeIntervalSince1970 * 1_000), "checksum": "", "allIPs": false, "reachProtectionThreshold": false,
            "valid": true,
        ]
        return String(decoding: try JSONSerialization.data(withJSONObject: info), as: UTF8.self)
    }

    /// `ClientBeatCheckTaskV2`, which runs every 5 s for each client.
    mutating func checkBeats(now: ContinuousClock.Instant) {
        for service in services.keys {
            services[service] = services[service]?.filter { now - $0.value.lastBeat <= .milliseconds($0.value.deleteTimeout) }
                .mapValues { instance in
                    var instance = instance
                    if now - instance.lastBeat > .milliseconds(instance.beatTimeout) { instance.isHealthy = false }
                    return instance
                }
        }
    }

    /// `InstanceController.update`: what the console does. It lies over what is registered from here on
    /// (`ServiceStorage.parseInstance`, `InstanceUtil.updateInstanceMetadata`).
    mutating func update(_ request: NacosRequest) throws -> String {
        let service = try service(request)
        let instance = try instance(request)
        guard services[service] != nil else {
            throw NacosRefusal(400, "service not found, namespace: \(service.namespace), service: \(service.grouped)")
        }
        edits[service, default: [:]]["\(instance.ip):\(instance.port):\(instance.cluster)"] = instance
        return "ok"
    }

    /// With what was edited.
    func shown(_ service: Service) -> [Instance] {
        (services[service] ?? [:]).values.map { instance in
            guard let edit = edits[service]?["\(instance.ip):\(instance.port):\(instance.cluster)"] else { return instance }
            var instance = instance
            instance.isEnabled = edit.isEnabled
            instance.weight = edit.weight
            instance.metadata.merge(edit.metadata) { _, edited in edited }
            return instance
        }
    }
}
