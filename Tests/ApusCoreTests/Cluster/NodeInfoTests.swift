import ApusCore
import Foundation
import Testing

@Suite("What a node tells the others")
struct NodeInfoTests {
    @Test("A node of the version before, which says nothing of TLS over TCP, has none")
    func olderNode() throws {
        let json = #"""
            {"id":{"epoch":5,"number":1},"load":3,"roles":["socket"],"socketURL":"ws://n1:8081/v1/socket","tcp":{"host":"n1","port":8082},
             "version":"0.1.0","weight":100}
            """#
        let node = try JSONDecoder().decode(NodeInfo.self, from: Data(json.utf8))
        let expected = NodeInfo(
            id: NodeID(number: 1, epoch: 5), roles: [.socket], socketURL: "ws://n1:8081/v1/socket",
            tcp: NetworkAddress(host: "n1", port: 8082),
            load: 3, version: "0.1.0")
        #expect(node == expected)
    }
}
