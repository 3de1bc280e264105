import ApusProtocol
import Testing

@testable import apus

@Suite("What a node waits for")
struct PrerequisitesTests {
    @Test("The log says it once, again when something else is missing, and else after pauses that grow up to five minutes")
    func log() {
        var log = WaitingLog()
        let start = ContinuousClock.now
        var said: [Int] = []
        for second in 0...1_300 where log.isDue(["mysql"], at: start + .seconds(second)) { said.append(second) }
        #expect(said == [0, 5, 15, 35, 75, 155, 315, 615, 915, 1_215])
        let others: [(Set<String>, Int)] = [(["mysql", "redis"], 1_301), (["redis", "mysql"], 1_305), (["mysql", "redis"], 1_306)]
        let isSaid = others.map { log.isDue($0, at: start + .seconds($1)) }
        #expect(isSaid == [true, false, true])
    }

    @Test("All are asked; those that may come are named with their reasons")
    func missing() async throws {
        let prerequisites = Prerequisites([
            Prerequisite(name: "mysql") { throw ApusError(.storeUnavailable, "nobody listens") },
            Prerequisite(name: "redis") {},
            Prerequisite(name: "registry") { throw ApusError(.storeUnavailable, "no session") },
        ])
        let missing = try await prerequisites.missing()
        #expect(missing.keys.sorted() == ["mysql", "registry"])
        #expect(missing["mysql"]?.contains("nobody listens") == true)
    }

    @Test("What waiting does not cure ends the start, whatever else is missing")
    func refusal() async {
        let prerequisites = Prerequisites([
            Prerequisite(name: "mysql") { throw ApusError(.storeUnavailable, "nobody listens") },
            Prerequisite(name: "redis") { throw StartError.configuration("a wrong password") },
        ])
        let error = await #expect(throws: StartError.self) { try await prerequisites.missing() }
        #expect(error?.description == "a wrong password")
    }

    @Test(
        "An address that makes no sense ends the start before anybody is asked",
        arguments: [("mysql://apus@h/d", "redis://h:x"), ("mysql://h", "redis://h")])
    func badAddress(store: String, redis: String) {
        var configuration = ServerConfiguration()
        configuration.cluster.store = store
        configuration.cluster.redis = redis
        configuration.cluster.registry = "zookeeper://h/apus"
        #expect(throws: StartError.self) { try Prerequisites(configuration, group: .singletonMultiThreadedEventLoopGroup) }
    }

    @Test("Only those who hand media out wait for the bucket")
    func bucket() throws {
        var configuration = ServerConfiguration()
        #expect(try ObjectsSettings(configuration) == nil)
        configuration.objects = .init(store: "s3://media?endpoint=http://h:9000", accessKey: "a", secretKey: "s")
        #expect(try ObjectsSettings(configuration) != nil)
        configuration.cluster.store = "mysql://apus@h/d"
        configuration.roles = [.socket]
        #expect(try ObjectsSettings(configuration) == nil)
        configuration.roles = [.web, .user]
        #expect(try ObjectsSettings(configuration) != nil)
        configuration.objects.store = "s3://NO"
        #expect(throws: StartError.self) { try ObjectsSettings(configuration) }
    }
}
