import ApusCore
import ApusProtocol
import NIOPosix
import Testing

@testable import ApusServer
@testable import apus

@Suite("What other nodes are told to call", .timeLimit(.minutes(1)))
struct AdvertisedAddressTests {
    private func advertised(_ listening: String, setting: String = "", registry: [String] = ["127.0.0.1:9"]) async throws -> String? {
        let listener = BoundAddress()
        listener.resolve(.success(try #require(NetworkAddress(listening))))
        let address = AdvertisedAddress(
            registry: registry.compactMap { NetworkAddress($0) }, group: MultiThreadedEventLoopGroup.singleton)
        return try await address.of(listener, setting: setting)?.description
    }

    @Test("the address of the setting, or else that of the listener")
    func named() async throws {
        #expect(try await advertised("10.0.0.1:8080", setting: "chat.example:80") == "chat.example:80")
        #expect(try await advertised("10.0.0.1:8080") == "10.0.0.1:8080")
        #expect(try await AdvertisedAddress(registry: [], group: MultiThreadedEventLoopGroup.singleton).of(nil) == nil)
    }

    @Test("of a listener on all addresses the one from which the registry is reached; a registry that is nowhere is passed over")
    func everywhere() async throws {
        #expect(try await advertised("0.0.0.0:8080") == "127.0.0.1:8080")
        #expect(try await advertised("[::]:8080", registry: ["nowhere.invalid:1", "127.0.0.1:9"]) == "127.0.0.1:8080")
        let error = await #expect(throws: ApusError.self) { try await advertised("0.0.0.0:8080", registry: ["nowhere.invalid:1"]) }
        #expect(error?.code == .unavailable)
    }
}
