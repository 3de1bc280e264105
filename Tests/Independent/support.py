"""What the stories share: accounts over HTTP with `requests`, and a JSON socket with `websockets` that keeps pushes in order."""

import asyncio
import json
import time

import requests
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

TIMEOUT = 10


def step(sentence):
    print(f"ok: {sentence}", flush=True)


class Account:
    """A registered account, logged in with one device per `login`."""

    def __init__(self, http, username, password="correct horse battery"):
        self.http, self.username, self.password = http, username, password
        answer = requests.post(
            f"{http}/v1/accounts", json={"username": username, "password": password, "display_name": username.title()}, timeout=TIMEOUT
        )
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]
        assert isinstance(self.id, str), "an id is a string in JSON"
        self.token = self.login()["access_token"]

    def login(self, device="first"):
        answer = requests.post(
            f"{self.http}/oauth/token",
            data={
                "grant_type": "password", "client_id": "apus", "username": self.username, "password": self.password,
                "device_name": device, "platform": "python",
            },
            timeout=TIMEOUT,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(self, method, path, status, **options):
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.request(method, self.http + path, headers=headers, timeout=TIMEOUT, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    @property
    def socket_url(self):
        return self.call("GET", "/v1/socket", 200)["url"]


class Socket:
    """One session over WebSocket. Answers are found by `ref`; pushes wait in their order until somebody asks for them."""

    def __init__(self, connection):
        self.connection = connection
        self.next_ref = 1
        self.pushes = []
        self.answers = {}
        self.welcome = None

    @classmethod
    async def open(cls, url, token=None):
        socket = cls(await connect(url, subprotocols=["apus.v1.json"], max_size=1 << 21))
        assert socket.connection.subprotocol == "apus.v1.json"
        if token is not None:
            socket.welcome = (await socket.request("hello", accessToken=token, client="python/1"))["welcome"]
        return socket

    async def post(self, message, **fields):
        """Sends a message without a ref."""
        await self.connection.send(json.dumps({message: fields}))

    async def request(self, message, **fields):
        """Sends a message and returns the frame that answers it."""
        return await self.answer(await self.start(message, **fields))

    async def start(self, message, **fields):
        ref = self.next_ref
        self.next_ref += 1
        await self.connection.send(json.dumps({"ref": ref, message: fields}))
        return ref

    async def answer(self, ref):
        while ref not in self.answers:
            await self.receive()
        return self.answers.pop(ref)

    async def push(self, kind):
        """The oldest push of that kind; pushes of other kinds stay."""
        while True:
            for index, frame in enumerate(self.pushes):
                if kind in frame:
                    return self.pushes.pop(index)[kind]
            await self.receive()

    async def receive(self):
        async with asyncio.timeout(TIMEOUT):
            text = await self.connection.recv()
        assert isinstance(text, str), "JSON comes in text frames"
        frame = json.loads(text)
        if frame.get("ref"):
            self.answers[frame["ref"]] = frame
        else:
            self.pushes.append(frame)

    async def waiting(self, kind):
        """Pushes of that kind that came before the answer to a ping of now."""
        assert "pong" in await self.request("ping")
        return [frame[kind] for frame in self.pushes if kind in frame]

    async def close_code(self):
        """The code with which the server closes; what comes before it is dropped."""
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    await self.connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    async def close(self):
        await self.connection.close()


def now_ms():
    return int(time.time() * 1000)
