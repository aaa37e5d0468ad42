"""One attack each, over raw sockets. Returns how many messages, requests or frames it sent; never mind the answers."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.support.deadlines import HANG_S

from .wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, announced, frame, handshake

HOSTILE = "127.0.0.2"
"""Where attacks come from: another address than the well-behaved clients'."""

GARBAGE = (
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    b"\x00" * 200,
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(300)) + b"\r\n",
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ?\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost x\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
)
NONSENSE = (
    b"}{", b"", b"[]", b"null", b'{"type":"nope"}', b'{"type":"join"}', b"[" * 10_000, b'{"type":"pong","id":NaN}',
    b'{"type":"answer","question":"q1","choice":1e99,"key":"k"}', b'{"type":"join","event":"\\ud800"}',
)  # fmt: skip

UNREADABLE = 12
"""More unreadable messages than one connection may send (``strike_limit``)."""


class Overstayed(Exception):  # noqa: N818 - what a connection did
    """A connection is still open that the server should have closed by now."""


class Peer:
    """A raw connection of an attacker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.sent = reader, writer, 0

    @classmethod
    async def dial(cls, port: int) -> Peer:
        """Connect, from the hostile address."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(HOSTILE, 0)))

    @classmethod
    async def upgraded(cls, port: int, *headers: str) -> Peer:
        """Connect and shake hands; what the server says to it is read when it comes."""
        peer = await cls.dial(port)
        peer.writer.write(handshake(f"127.0.0.1:{port}", *headers))
        try:
            await peer.hear(b"\r\n\r\n")
        except OSError:
            peer.drop()
            raise
        return peer

    def send(self, *frames: bytes) -> None:
        """Send frames, one message each."""
        self.sent += len(frames)
        self.writer.write(b"".join(frames))

    def say(self, *messages: dict[str, object]) -> None:
        """Send messages."""
        self.send(*(frame(json.dumps(message).encode()) for message in messages))

    async def hear(self, wanted: bytes) -> bytes:
        """What comes until this does; raises ``OSError`` when it does not."""
        try:
            async with asyncio.timeout(HANG_S):
                return await self.reader.readuntil(wanted)
        except (EOFError, TimeoutError) as error:
            raise ConnectionError(str(error)) from error

    async def drain(self, seconds: float = 0.3) -> None:
        """Read what comes for a while, or until the end."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(seconds):
                while await self.reader.read(65_536):
                    pass

    @property
    def is_out(self) -> bool:
        """Whether the server has ended the connection, as far as it was read."""
        return self.reader.at_eof() or self.reader.exception() is not None

    def drop(self) -> int:
        """Be gone; returns what was sent."""
        self.writer.transport.abort()
        return self.sent


def join(name: str) -> dict[str, object]:
    """Take part under this name, as this instance."""
    return {"type": "join", "event": "quiz", "name": name, "instance": name}


def resume(token: str) -> dict[str, object]:
    """Come back with a token."""
    return {"type": "resume", "event": "quiz", "token": token}


async def nonsense(port: int, chance: random.Random) -> int:
    """Malformed JSON and malformed messages, as text, binary and no UTF-8 at all, until it is thrown out."""
    peer = await Peer.upgraded(port)
    if chance.random() < 0.5:
        peer.say(join(f"bad{chance.randrange(5)}"))
    texts = [chance.choice(NONSENSE) for _ in range(8)] + [chance.randbytes(40) for _ in range(4)]
    peer.send(*(frame(text, chance.choice((TEXT, BINARY))) for text in texts))
    await peer.drain()
    return peer.drop()


async def unreadable(port: int, chance: random.Random) -> int:
    """Well-formed frames without a message in them, before a join and after it, until the server closes both."""
    peers = [await Peer.upgraded(port) for _ in range(2)]
    peers[1].say(join(chance.randbytes(8).hex()))
    for peer in peers:
        peer.send(*[frame(b"}{")] * UNREADABLE)
        await peer.drain(HANG_S)
    sent, are_out = sum(peer.drop() for peer in peers), all(peer.is_out for peer in peers)
    if not are_out:
        raise Overstayed("a connection of unreadable messages")
    return sent


async def oversized(port: int, chance: random.Random) -> int:
    """A message that is too big: announced, or sent."""
    peer = await Peer.upgraded(port)
    size = chance.choice((16_385, 1_048_576, 2**40))
    peer.send(announced(size) if chance.random() < 0.5 else frame(b"x" * min(size, 1_048_576)))
    await peer.drain()
    return peer.drop()


async def truncated(port: int, chance: random.Random) -> int:
    """Gone in the middle of a frame, of a handshake, of a message in pieces."""
    peer = await Peer.upgraded(port)
    peer.say(join(f"bad{chance.randrange(5)}"))
    whole = frame(json.dumps({"type": "probe", "id": 1}).encode())
    peer.send(whole[: chance.randrange(1, len(whole))])
    half = await Peer.dial(port)
    half.send(handshake("x")[: chance.randrange(1, 150)])
    await asyncio.sleep(chance.uniform(0, 0.05))
    return peer.drop() + half.drop()


async def malformed_frames(port: int, chance: random.Random) -> int:
    """Frames that break the protocol below the messages."""
    bad = (
        frame(b"{}", masked=False), frame(b"{}", reserved=chance.randrange(1, 8)), frame(b"", 0x3), frame(b"", 0xB),
        frame(b"x" * 126, PING), frame(b"", PING, fin=False), frame(b"x", CONTINUATION), frame(b"\x00", CLOSE),
        frame(b"\x00\x00", CLOSE), frame(b"\x03\xe8\xff", CLOSE), frame(b"{", fin=False) + frame(b"}", TEXT),
        frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 5000,
    )  # fmt: skip
    peer = await Peer.upgraded(port)
    peer.send(chance.choice(bad))
    await peer.drain()
    return peer.drop()


async def wrong_order(port: int, chance: random.Random) -> int:
    """Well-formed, at the wrong moment: before a join, twice, after leaving."""
    peer = await Peer.upgraded(port)
    who = join(f"bad{chance.randrange(5)}")
    answer = {"type": "answer", "question": "q1", "choice": 0, "key": "k"}
    peer.say(answer, {"type": "pong", "id": 1}, {"type": "leave"}, {"type": "token_stored", "generation": 9})
    peer.say(who, who, answer, {"type": "answer", "question": "q99", "choice": 0, "key": "k"}, who)
    peer.say(resume("x"), {"type": "leave"}, answer)
    await peer.drain()
    return peer.drop()


async def replays(port: int, chance: random.Random) -> int:
    """The same join over many connections at once, the same answer many times."""
    name = f"bad{chance.randrange(5)}"
    peers = [await Peer.upgraded(port) for _ in range(3)]
    for peer in peers:
        peer.say(join(name))
    await asyncio.sleep(0.05)
    for peer in peers:
        peer.say(*[{"type": "answer", "question": "q1", "choice": 1, "key": "same"}] * 20)
    await peers[-1].drain()
    return sum(peer.drop() for peer in peers)


async def guessed_tokens(port: int, chance: random.Random) -> int:
    """Tokens that open nothing."""
    peer = await Peer.upgraded(port)
    peer.say(*(resume(chance.randbytes(24).hex()) for _ in range(20)))
    await peer.drain()
    return peer.drop()


async def retired_token(port: int, chance: random.Random) -> int:
    """A token that was replaced is replayed, while its owner is there."""
    owner = await Peer.upgraded(port)
    owner.say(join(f"owner{chance.randrange(5)}"))
    old = await _token(owner)
    owner.say(resume(old))
    again = await Peer.upgraded(port)
    again.say(resume(old))
    await _token(again)
    again.say({"type": "token_stored", "generation": 2})
    thief = await Peer.upgraded(port)
    thief.say(resume(old), resume(old), resume(old))
    await thief.drain(0.1)
    again.say({"type": "leave"})
    await again.drain(0.1)
    return owner.drop() + again.drop() + thief.drop()


async def _token(peer: Peer) -> str:
    await peer.hear(b'"token":"')
    return (await peer.hear(b'"'))[:-1].decode()


async def slow_handshake(port: int, chance: random.Random) -> int:
    """A byte at a time, until it is shown out."""
    peer = await Peer.dial(port)
    for byte in handshake("x"):
        if peer.writer.is_closing():
            return peer.drop()
        peer.send(bytes([byte]))
        await asyncio.sleep(0.1)
    peer.drop()
    raise Overstayed("a slow handshake")


async def silent(port: int, chance: random.Random) -> int:
    """Connected, perhaps upgraded, perhaps joined or refused, and then nothing: as a half-open socket looks."""
    kind = chance.randrange(4)
    peer = await (Peer.upgraded(port) if kind else Peer.dial(port))
    if kind == 2:
        peer.say(join(f"bad{chance.randrange(5)}"))
    elif kind == 3:
        peer.say(resume("x"))
    await peer.drain(HANG_S)
    sent, is_out = peer.drop() + 1, peer.is_out
    if not is_out:
        raise Overstayed(f"a silent connection of kind {kind}")
    return sent


async def flood(port: int, chance: random.Random) -> int:
    """As many messages as one connection can carry for a second, answers unread."""
    peer = await Peer.upgraded(port)
    peer.say(join(f"bad{chance.randrange(5)}"))
    for _ in range(20):
        if peer.writer.is_closing():
            break
        peer.say(*[{"type": "probe", "id": 2**53 - 1}] * 20)
        await asyncio.sleep(0.05)
    return peer.drop()


async def control_frames(port: int, chance: random.Random) -> int:
    """Pings and pongs by the thousand, the answers unread."""
    peer = await Peer.upgraded(port)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    if chance.random() < 0.5:
        peer.say(join(f"bad{chance.randrange(5)}"))
    for _ in range(20):
        if peer.writer.is_closing():
            break
        peer.send(*[frame(b"p" * 125, PING), frame(b"p", PONG)] * 10)
        await asyncio.sleep(0.01)
    return peer.drop()


async def wrong_origin(port: int, chance: random.Random) -> int:
    """A page of another site."""
    origin = chance.choice(("http://evil.example", "null", "http://[::1", f"http://127.0.0.1:{port}.evil.example"))
    peer = await Peer.dial(port)
    peer.send(handshake(f"127.0.0.1:{port}", f"Origin: {origin}"))
    await peer.drain()
    return peer.drop()


async def http_garbage(port: int, chance: random.Random) -> int:
    """What is no handshake, or hardly one."""
    peer = await Peer.dial(port)
    peer.send(chance.choice(GARBAGE))
    await peer.drain(0.1)
    return peer.drop()


async def host_without_key(port: int, chance: random.Random) -> int:
    """Orders without a key, a wrong key, a megabyte before any key."""
    peer, other, third = [await Peer.upgraded(port) for _ in range(3)]
    peer.say({"type": "host_command", "action": "finish", "step": 0}, join(f"bad{chance.randrange(5)}"))
    peer.say(*[{"type": "host_command", "action": "finish", "step": step} for step in range(4)])
    other.say({"type": "host", "event": "quiz", "key": chance.randbytes(16).hex()})
    third.send(frame(b'{"type":"create_event","plan":{"title":"' + b"x" * 1_048_576 + b'"}}'))
    await peer.drain()
    return peer.drop() + other.drop() + third.drop()


async def unknown_event(port: int, chance: random.Random) -> int:
    """An event that is not here."""
    peer = await Peer.upgraded(port)
    peer.say({**join("x"), "event": chance.randbytes(8).hex()})
    await peer.drain()
    return peer.drop()


async def churn(port: int, chance: random.Random) -> int:
    """Connections that end as soon as they are there, at every stage."""
    sent = 0
    for _ in range(10):
        peer = await Peer.dial(port)
        if chance.random() < 0.7:
            peer.send(handshake("x"))
        if chance.random() < 0.3:
            peer.say(join(f"bad{chance.randrange(5)}"))
        sent += peer.drop() + 1
    return sent


Attack = Callable[[int, random.Random], Awaitable[int]]

ATTACKS: tuple[Attack, ...] = (
    nonsense, unreadable, oversized, truncated, malformed_frames, wrong_order, replays, guessed_tokens, retired_token,
    slow_handshake, silent, flood, control_frames, wrong_origin, http_garbage, host_without_key, unknown_event, churn,
)  # fmt: skip
