import ApusProtocol
import NIOCore
import Testing

extension Plays {
    /// Mallory misbehaves; Alice and Bob are in the middle of a conversation on the same server and must not notice.
    @Suite("Plays: bad input gets a coded answer and touches nobody else", .serialized, .timeLimit(.minutes(2)))
    struct BadInputPlays {
        private struct Scene {
            let play: Play
            let mallory: Login
            let conversation: ConversationID
            let alice: PlaySocket
            let bob: PlaySocket

            /// Alice says something and Bob hears it, on the connections that they had before.
            func everybodyElseIsFine() async throws {
                let said = try await alice.say("still here", in: conversation, clientID: "fine-1")
                let heard = try await bob.nextEntry()
                #expect(heard.seq == said.seq && heard.body == "still here")
            }
        }

        private func scene(on stage: Stage, _ story: (Scene) async throws -> Void) async throws {
            try await Play.run(on: stage) { play in
                let (_, aliceDevice, alice) = try await play.connect("alice")
                let (bobPerson, _, bob) = try await play.connect("bob")
                let mallory = try await play.register("mallory").login()
                let conversation = try await aliceDevice.direct(with: bobPerson)
                try await story(Scene(play: play, mallory: mallory, conversation: conversation, alice: alice, bob: bob))
            }
        }

        @Test("A frame that is too large closes the connection that sent it", arguments: Stage.allCases, PlaySocket.Carrier.allCases)
        func tooLargeFrame(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.mallory.connect(carrier)
                try await socket.sendMessage(ByteBuffer(repeating: UInt8(ascii: " "), count: 200_000))
                #expect(try await socket.closeCode() == (carrier == .tcp ? .frameTooLarge : .messageTooBig))
                try await scene.everybodyElseIsFine()
            }
        }

        @Test("A length of four gigabytes is refused before anything of it is stored", arguments: Stage.allCases, [false, true])
        func absurdLength(stage: Stage, isLoggedIn: Bool) async throws {
            try await scene(on: stage) { scene in
                let socket = try await isLoggedIn ? scene.mallory.connect(.tcp) : scene.play.open(.tcp)
                try await socket.sendRaw(ByteBuffer(integer: UInt32.max))
                #expect(try await socket.closeCode() == .frameTooLarge)
                try await scene.everybodyElseIsFine()
            }
        }

        @Test("Text that is not UTF-8 closes the connection with 1007", arguments: Stage.allCases)
        func notUTF8(stage: Stage) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.mallory.connect(.webSocket(.json))
                try await socket.sendMessage(ByteBuffer(bytes: [0x7B, 0x22, 0xC3, 0x28, 0x22, 0x7D]))
                #expect(try await socket.closeCode() == .invalidPayload)
                try await scene.everybodyElseIsFine()
            }
        }

        @Test(
            "A body that is not UTF-8 inside a protobuf frame is malformed, and the session goes on",
            arguments: Stage.allCases,
            [
                PlaySocket.Carrier.webSocket(.protobuf), .tcp,
            ])
        func bodyNotUTF8(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.mallory.connect(carrier)
                // ref 5; send { conversation 1, client_id "c", body <C3 28> }
                try await socket.sendMessage(ByteBuffer(bytes: [0x08, 5, 0x1A, 9, 0x08, 1, 0x12, 1, 0x63, 0x22, 2, 0xC3, 0x28]))
                #expect(try await socket.nextError().code == ErrorCode.malformed.rawValue)
                #expect(try await socket.isAlive())
                try await scene.everybodyElseIsFine()
            }
        }

        @Test(
            "A text frame on the binary subprotocol, or the other way round, closes with 1003", arguments: Stage.allCases,
            FrameEncoding.allCases)
        func wrongFrameType(stage: Stage, encoding: FrameEncoding) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.mallory.connect(.webSocket(encoding))
                try await socket.sendMessage(ByteBuffer(string: "{}"), asText: encoding == .protobuf)
                #expect(try await socket.closeCode() == .unsupportedData)
                try await scene.everybodyElseIsFine()
            }
        }

        @Test(
            "Bytes that are no frame are malformed; after many of them the connection closes", arguments: Stage.allCases,
            PlaySocket.Carrier.allCases)
        func notDecodable(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.mallory.connect(carrier)
                let garbage = ByteBuffer(bytes: carrier.encoding == .json ? Array("{\"send\":7}".utf8) : [0x0A, 0xFF, 0xFF, 0xFF])
                try await socket.sendMessage(garbage)
                #expect(try await socket.nextError().code == ErrorCode.malformed.rawValue)
                #expect(try await socket.isAlive())
                for _ in 0..<16 { try await socket.sendMessage(garbage) }
                #expect(try await socket.closeCode() == .tooManyErrors)
                try await scene.everybodyElseIsFine()
            }
        }

        @Test("Anything but hello first closes the connection with 4301", arguments: Stage.allCases, PlaySocket.Carrier.allCases)
        func outOfState(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.play.open(carrier)
                try await socket.send(SendFrame(ref: 1, conversation: scene.conversation, clientID: "sneaky", body: "not logged in"))
                #expect(try await socket.closeCode() == .outOfState)
                try await scene.everybodyElseIsFine()
            }
        }

        @Test("A token that is none closes the connection with 4200", arguments: Stage.allCases, PlaySocket.Carrier.allCases)
        func badToken(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.play.open(carrier)
                var hello = WireHello()
                hello.accessToken = "eyJhbGciOiJub25lIn0.e30."
                try await socket.send(WireClientFrame(ref: 1, .hello(hello)))
                #expect(try await socket.closeCode() == .tokenRefused)
                try await scene.everybodyElseIsFine()
            }
        }

        @Test(
            "A conversation of others and one that does not exist are refused alike, for sending and for reading", arguments: Stage.allCases
        )
        func foreignConversation(stage: Stage) async throws {
            try await scene(on: stage) { scene in
                let socket = try await scene.mallory.connect()
                var messages: Set<String> = []
                for conversation in [scene.conversation, ConversationID(4_711)] {
                    try await socket.send(SendFrame(ref: 7, conversation: conversation, clientID: "x-1", body: "let me in"))
                    let refused = try await socket.nextError()
                    #expect(refused.code == ErrorCode.notMember.rawValue && refused.clientID == "x-1" && !refused.retryable)
                    var pull = WirePull()
                    pull.conversation = conversation.rawValue
                    pull.from = 1
                    try await socket.send(WireClientFrame(ref: 8, .pull(pull)))
                    let unread = try await socket.nextError()
                    #expect(unread.code == ErrorCode.notMember.rawValue)
                    messages.formUnion([refused.message, unread.message])
                }
                #expect(messages.count == 1)
                // Neither of the two was shown anything: the next thing that Bob hears is Alice.
                try await scene.everybodyElseIsFine()
            }
        }

        @Test("A body that is too large is refused by its name, and the session goes on", arguments: Stage.allCases)
        func tooLargeBody(stage: Stage) async throws {
            try await scene(on: stage) { scene in
                let body = String(repeating: "x", count: 32_769)
                try await scene.alice.send(SendFrame(ref: 3, conversation: scene.conversation, clientID: "big-1", body: body))
                let error = try await scene.alice.nextError()
                #expect(error.code == ErrorCode.tooLarge.rawValue && error.clientID == "big-1")
                try await scene.everybodyElseIsFine()
            }
        }

        @Test("The same client id with other content is a conflict, and the first message stands", arguments: Stage.allCases)
        func conflict(stage: Stage) async throws {
            try await scene(on: stage) { scene in
                let first = try await scene.alice.say("the truth", in: scene.conversation, clientID: "same")
                #expect(try await scene.alice.say("the truth", in: scene.conversation, clientID: "same") == first)
                let error = await #expect(throws: ApusError.self) {
                    try await scene.alice.say("a lie", in: scene.conversation, clientID: "same")
                }
                #expect(error?.code == .conflict)
                #expect(try await scene.bob.nextEntry().body == "the truth")
                try await scene.everybodyElseIsFine()
            }
        }
    }
}
