"""Drives the JSON form of the socket protocol with the `websockets` library, written from Docs/protocol.md.

    python socket_json.py http://127.0.0.1:8080
"""

import asyncio
import sys
import uuid

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support import Account, Socket, now_ms, step


async def welcome(http, ada, url):
    socket = await Socket.open(url, ada.token)
    assert socket.welcome["account"] == ada.id
    assert int(socket.welcome["session"]) > 0 and int(socket.welcome["device"]) > 0
    assert socket.welcome["heartbeatMs"] > 0 and socket.welcome["inFlightMax"] > 0
    assert abs(int(socket.welcome["serverTime"]) - now_ms()) < 60_000
    assert "pong" in await socket.request("ping")
    second_hello = await socket.request("hello", accessToken=ada.token)
    assert second_hello["error"]["code"] == "out_of_state", second_hello
    await socket.close()
    step("hello is answered with welcome, ping with pong, a second hello with out_of_state")


async def direct_messages(ada, bob, url):
    made = ada.call("POST", "/v1/conversations", 201, json={"kind": "direct", "members": [bob.id]})
    again = bob.call("POST", "/v1/conversations", 201, json={"kind": "direct", "members": [ada.id]})
    assert made["id"] == again["id"], "two accounts have one direct conversation"
    talk = made["id"]

    ada_socket = await Socket.open(url, ada.token)
    ada_phone = await Socket.open(url, ada.login("phone")["access_token"])
    bob_socket = await Socket.open(url, bob.token)

    client_id = str(uuid.uuid4())
    ack = (await ada_socket.request("send", conversation=talk, clientId=client_id, kind="text", body="hello Bob 🐦"))["ack"]
    assert ack["conversation"] == talk and ack["clientId"] == client_id and ack["seq"] == "1", ack
    for reader in (bob_socket, ada_phone):
        entry = await reader.push("entry")
        assert entry["body"] == "hello Bob 🐦" and entry["sender"] == ada.id and entry["kind"] == "text", entry
        assert (entry["id"], entry["seq"], entry["at"]) == (ack["id"], ack["seq"], ack["at"])
    assert await ada_socket.waiting("entry") == [], "on the session that sent it the ack stands for the entry"
    step("a message is acknowledged and reaches the other account and the sender's other device")

    answer = (await bob_socket.request("send", conversation=talk, clientId="b1", body="hi Ada"))["ack"]
    assert answer["seq"] == "2"
    assert (await ada_socket.push("entry"))["body"] == "hi Ada"
    assert (await ada_phone.push("entry"))["seq"] == "2"
    step("the answer comes back; text is the kind when none is given")

    refs = [await ada_socket.start("send", conversation=talk, clientId=f"p{n}", body=f"pipelined {n}") for n in range(50)]
    acks = [(await ada_socket.answer(ref))["ack"] for ref in refs]
    assert [int(ack["seq"]) for ack in acks] == list(range(3, 53)), "pipelined sends keep their order"
    seen = [await bob_socket.push("entry") for _ in refs]
    assert [entry["body"] for entry in seen] == [f"pipelined {n}" for n in range(50)]
    step("fifty sends under way at once are appended and delivered in order")

    repeated = (await ada_socket.request("send", conversation=talk, clientId=client_id, kind="text", body="hello Bob 🐦"))["ack"]
    assert {k: v for k, v in repeated.items() if k != "ref"} == {k: v for k, v in ack.items() if k != "ref"}, repeated
    other = await ada_phone.request("send", conversation=talk, clientId=client_id, kind="text", body="hello Bob 🐦")
    assert other["ack"]["id"] == ack["id"], "the same on every connection"
    conflict = (await ada_socket.request("send", conversation=talk, clientId=client_id, body="something else"))["error"]
    assert conflict["code"] == "conflict" and not conflict.get("retryable"), conflict
    assert conflict["conversation"] == talk and conflict["clientId"] == client_id
    assert await bob_socket.waiting("entry") == [], "a repeated send is no second entry"
    step("a repeated send yields the first acknowledgement; the same client id with other content is a conflict")

    for socket in (ada_socket, ada_phone, bob_socket):
        await socket.close()
    return talk


async def catching_up(ada, bob, talk, url):
    bob_socket = await Socket.open(url, bob.token)
    heads = (await bob_socket.request("sync"))["heads"]
    assert {head["conversation"]: head["seq"] for head in heads["heads"]} == {talk: "52"}, heads
    token = heads["token"]
    assert not (await bob_socket.request("sync", token=token))["heads"].get("heads"), "nothing moved since"
    await bob_socket.close()

    ada_socket = await Socket.open(url, ada.token)
    for n in range(3):
        assert "ack" in await ada_socket.request("send", conversation=talk, clientId=f"away{n}", body=f"while you were away {n}")
    await ada_socket.close()

    bob_socket = await Socket.open(url, bob.token)
    moved = (await bob_socket.request("sync", token=token))["heads"]["heads"]
    assert [(head["conversation"], head["seq"]) for head in moved] == [(talk, "55")], moved
    page = (await bob_socket.request("pull", conversation=talk, **{"from": "53"}))["page"]
    assert (page["from"], page["through"], page["head"]) == ("53", "55", "55"), page
    assert [entry["body"] for entry in page["entries"]] == [f"while you were away {n}" for n in range(3)]
    step("after an absence sync names what moved and pull brings it")

    log, cursor = [], 1
    while True:
        page = (await bob_socket.request("pull", conversation=talk, limit=20, **{"from": str(cursor)}))["page"]
        assert len(page["entries"]) <= 20
        log += page["entries"]
        cursor = int(page["through"]) + 1
        if page["through"] == page["head"]:
            break
    assert [int(entry["seq"]) for entry in log] == list(range(1, 56))
    http_page = bob.call("GET", f"/v1/conversations/{talk}/entries?from=1&limit=100", 200)
    assert [entry["id"] for entry in http_page["entries"]] == [entry["id"] for entry in log]
    step("the whole log is read page by page, over the socket and over HTTP alike")

    reset = (await bob_socket.request("pull", conversation=talk, **{"from": "1000"}))
    assert reset["reset"] == {"conversation": talk, "first": "1", "head": "55"}, reset
    step("a cursor beyond the log is told to start over")
    await bob_socket.close()


async def marks_and_typing(ada, bob, talk, url):
    ada_socket, bob_socket = await Socket.open(url, ada.token), await Socket.open(url, bob.token)
    await bob_socket.post("read", conversation=talk, read="10", delivered="12")
    mark = await ada_socket.push("read")
    assert mark == {"conversation": talk, "account": bob.id, "read": "10", "delivered": "12"}, mark
    await bob_socket.post("typing", conversation=talk)
    assert await ada_socket.push("typing") == {"conversation": talk, "account": bob.id}
    await bob_socket.post("read", conversation=talk, read="4")
    await bob_socket.post("read", conversation=talk, read="11")
    assert (await ada_socket.push("read"))["read"] == "11", "a mark only grows"
    heads = (await bob_socket.request("sync"))["heads"]["heads"]
    assert [head["read"] for head in heads if head["conversation"] == talk] == ["11"]
    step("read marks and typing reach the other side; marks only grow, and are kept")
    await ada_socket.close()
    await bob_socket.close()


async def scheduled(ada, bob, talk, url):
    ada_socket, bob_socket = await Socket.open(url, ada.token), await Socket.open(url, bob.token)
    at = int(ada_socket.welcome["serverTime"]) + 1500
    frame = await ada_socket.request("send", conversation=talk, clientId="later", body="from the past", deliverAt=str(at))
    ack = frame["ack"]
    assert "seq" not in ack and ack["deliverAt"] == str(at), ack
    again = await ada_socket.request("send", conversation=talk, clientId="later", body="from the past", deliverAt=str(at))
    assert again["ack"]["id"] == ack["id"], "a scheduled message too is sent once"
    assert await bob_socket.waiting("entry") == [], "not before its time"
    for reader in (bob_socket, ada_socket):
        entry = await reader.push("entry")
        assert entry["id"] == ack["id"] and entry["body"] == "from the past" and int(entry["at"]) >= at, entry
    step("a scheduled message comes at its time, to the session that sent it as well")
    await ada_socket.close()
    await bob_socket.close()


async def groups(ada, bob, carol, url):
    sockets = {person.username: await Socket.open(url, person.token) for person in (ada, bob, carol)}
    group = ada.call("POST", "/v1/conversations", 201, json={"kind": "group", "title": "birds", "members": [bob.id]})["id"]
    for name in (ada.username, bob.username):
        created = await sockets[name].push("entry")
        assert created["seq"] == "1" and created["kind"] == "system" and '"created"' in created["body"], created
    assert "ack" in await sockets[ada.username].request("send", conversation=group, clientId="g1", body="before carol")
    assert (await sockets[bob.username].push("entry"))["body"] == "before carol"
    refused = (await sockets[carol.username].request("send", conversation=group, clientId="x", body="let me in"))["error"]
    assert refused["code"] == "not_member", refused
    assert (await sockets[carol.username].request("pull", conversation=group, **{"from": "1"}))["error"]["code"] == "not_member"
    assert await sockets[carol.username].waiting("entry") == []
    step("a group's entries reach its members, and nobody else reads or writes there")

    bob.call("POST", f"/v1/conversations/{group}/members", 200, json={"accounts": [carol.id]})
    for person in (ada, bob, carol):
        joined = await sockets[person.username].push("entry")
        assert joined["seq"] == "3" and '"joined"' in joined["body"] and carol.id in joined["body"], joined
    page = (await sockets[carol.username].request("pull", conversation=group, **{"from": "1"}))["page"]
    assert [entry["seq"] for entry in page["entries"]] == ["3"], "what was said before she joined is not for her"
    assert (await sockets[carol.username].request("send", conversation=group, clientId="c1", body="hello"))["ack"]["seq"] == "4"
    for person in (ada, bob):
        assert (await sockets[person.username].push("entry"))["body"] == "hello"
    step("an invited member reads from the entry that she joined with, and writes")

    carol.call("PATCH", f"/v1/conversations/{group}", 200, json={"title": "swifts"})
    for person in (ada, bob, carol):
        assert '"renamed"' in (await sockets[person.username].push("entry"))["body"]
    carol.call("DELETE", f"/v1/conversations/{group}/members/me", 204)
    for person in (ada, bob, carol):
        left = await sockets[person.username].push("entry")
        assert left["seq"] == "6" and '"left"' in left["body"], left
    assert "ack" in await sockets[ada.username].request("send", conversation=group, clientId="g2", body="after carol")
    assert (await sockets[bob.username].push("entry"))["seq"] == "7"
    assert await sockets[carol.username].waiting("entry") == [], "nothing after she left"
    page = (await sockets[carol.username].request("pull", conversation=group, **{"from": "1"}))["page"]
    assert [entry["seq"] for entry in page["entries"]] == ["3", "4", "5", "6"] and page["head"] == "6", page
    refused = (await sockets[carol.username].request("send", conversation=group, clientId="c2", body="wait"))["error"]
    assert refused["code"] == "not_member"
    step("who left keeps what was said while she was there, and gets nothing more")
    for socket in sockets.values():
        await socket.close()


async def errors(ada, bob, talk, url):
    socket = await Socket.open(url, ada.token)
    witness = await Socket.open(url, bob.token)

    await socket.connection.send("{this is no JSON")
    assert (await socket.push("error"))["code"] == "malformed"
    assert (await socket.request("dance", tempo=3))["error"]["code"] == "unknown_message"
    assert "pong" in await socket.request("ping", future="an unknown field is ignored")

    body_max, frame_max = socket.welcome["bodyBytesMax"], socket.welcome["frameBytesMax"]
    too_large = (await socket.request("send", conversation=talk, clientId="big", body="x" * (body_max + 1)))["error"]
    assert too_large["code"] == "too_large" and not too_large.get("retryable"), too_large
    assert (await socket.request("send", conversation=talk, clientId="just", body="y" * body_max))["ack"]
    for conversation in ("1", str(2**63)):
        foreign = (await socket.request("send", conversation=conversation, clientId="f", body="x"))["error"]
        assert foreign["code"] == "not_member" and foreign["clientId"] == "f", foreign
    for fields in (
        {"clientId": ""}, {"clientId": "with space"}, {"clientId": "apus:mine"}, {"clientId": "c" * 65}, {"body": ""},
        {"kind": "system", "body": "{}"}, {"kind": "card", "body": "no JSON"}, {"kind": "Not A Kind"}, {"body": "nul \0"},
    ):
        send = {"conversation": talk, "clientId": "bad", "body": "x", **fields}
        refused = (await socket.request("send", **send)).get("error", {})
        assert refused.get("code") == "invalid_argument", (fields, refused)
    assert "ack" in await socket.request("send", conversation=talk, clientId="card", kind="card", body='{"rank":"ace"}')
    step("what is malformed, unknown, too large, foreign or invalid gets its code, and the session goes on")

    await socket.connection.send("z" * (frame_max + 1))
    assert await socket.close_code() in (1009, 4302)
    for text, code in ((b"\xff\xfe", 1007), (b"binary", 1003)):
        socket = await Socket.open(url, ada.token)
        await socket.connection.send(text, text=code == 1007)
        assert await socket.close_code() == code
    socket = await Socket.open(url, ada.token)
    for _ in range(16):
        await socket.connection.send("[]")
        assert (await socket.push("error"))["code"] == "malformed"
    await socket.connection.send("[]")
    assert await socket.close_code() == 4303
    socket = await Socket.open(url)
    await socket.post("ping")
    assert await socket.close_code() == 4301
    socket = await Socket.open(url)
    await socket.post("hello", accessToken="not.a.token")
    assert await socket.close_code() == 4200
    for subprotocols in (None, ["mqtt"]):
        try:
            await connect(url, subprotocols=subprotocols)
            raise AssertionError("a handshake without our subprotocol went through")
        except InvalidStatus as refused:
            assert refused.response.status_code == 400
    step("what breaks the protocol closes its connection with the code that says what to do next")

    assert "pong" in await witness.request("ping"), "and touches nobody else"
    assert [entry["kind"] for entry in await witness.waiting("entry")] == ["text", "card"]
    await witness.close()


async def main(http):
    tag = uuid.uuid4().hex[:8]
    ada, bob, carol = (Account(http, f"{name}-{tag}") for name in ("ada", "bob", "carol"))
    step("three accounts registered and logged in over HTTP")
    url = ada.socket_url
    await welcome(http, ada, url)
    talk = await direct_messages(ada, bob, url)
    await catching_up(ada, bob, talk, url)
    await marks_and_typing(ada, bob, talk, url)
    await scheduled(ada, bob, talk, url)
    await groups(ada, bob, carol, url)
    await errors(ada, bob, talk, url)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
