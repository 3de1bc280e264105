// README.md quotes what stands between the marks; it compiles because it stands here.
// README-EXAMPLE-BEGIN
import ApusClient
import Foundation

func chat(server: URL, directory: URL) async throws {
    let client = try Client(configuration: ClientConfiguration(server: server, storage: .directory(directory)))
    _ = try await client.login(username: "alice", password: "correct horse")
    let events = client.events()
    await client.connect()
    let bob = try await client.directConversation(with: "bob")
    let ack = try await client.send("Hello, Bob!", to: bob.id)  // returns when it is durable on the server
    print("stored as number \(ack.seq)")
    for await event in events {
        if case .entry(let entry) = event {
            print(entry.body)
            try await client.markRead(entry.conversation, through: entry.seq)
        }
    }
    await client.close()
}
// README-EXAMPLE-END
