"""Large rosters are deflated once for all clients that can inflate them; how much a client inflates is bounded."""

from __future__ import annotations

import base64
import zlib

import msgspec
import pytest

from resilience.config import ServerConfig
from resilience.errors import RemoteProtocolError
from resilience.protocol.compression import MAX_ROSTER_BYTES, MIN_COMPRESS_BYTES, compress_if_worth, roster_of
from resilience.protocol.messages import Join, Joined, Player, Roster, Snapshot
from tests.support.machines import RoomHarness

ROSTER = Roster(150, tuple(Player(f"p{i}", f"player {i}", "connected") for i in range(150)), ())


def snapshot(roster: bytes) -> Snapshot:
    """A snapshot with this for a roster."""
    return Snapshot("1.1", 0, "lobby", 0, 0, msgspec.Raw(roster))


def text_of(data: bytes) -> bytes:
    """A JSON string of base64."""
    return msgspec.json.encode(base64.b64encode(data).decode())


def test_a_packed_roster_is_the_same_roster_and_much_smaller() -> None:
    plain = msgspec.json.encode(ROSTER)
    small = compress_if_worth(plain)
    assert small is not None
    assert len(bytes(small)) < len(plain) / 3
    assert roster_of(snapshot(bytes(small))) == roster_of(snapshot(plain)) == ROSTER


def test_what_does_not_pay_is_left_alone() -> None:
    """Small parts, and those that do not shrink."""
    noise = b"".join(zlib.crc32(bytes([i % 256, i // 256])).to_bytes(4, "big") for i in range(MIN_COMPRESS_BYTES))
    assert compress_if_worth(b"[" + b"1," * 500 + b"1]") is None
    assert compress_if_worth(base64.b64encode(noise)) is None


@pytest.mark.parametrize(
    "roster",
    [
        b"12",
        b'"not base64!"',
        text_of(b"not zlib"),
        text_of(zlib.compress(b"[]")),
        text_of(zlib.compress(b" " * (MAX_ROSTER_BYTES + 1))),
        text_of(zlib.compress(msgspec.json.encode(ROSTER))[:-9]),
    ],
)
def test_anything_else_is_the_peers_fault(roster: bytes) -> None:
    """Also a bomb, and one that was cut short."""
    with pytest.raises(RemoteProtocolError, match="roster"):
        roster_of(snapshot(roster))


def test_a_room_packs_for_those_who_inflate_only() -> None:
    """Each client receives the same state in a form that it can read; no frame is packed twice for one state."""
    harness = RoomHarness(server=ServerConfig(presence_interval=0.25))
    for i in range(1, 121):
        harness.join(i, f"player {i}")
    harness.run(3.0)
    received = []
    for connection, accepts_deflate in ((500, True), (501, False), (502, True)):
        harness.say(
            connection, Join(event="e", name="late", instance=f"late {connection}", accepts_deflate=accepts_deflate)
        )
        message = harness.sent[connection][0]
        assert isinstance(message, Joined)
        received.append(message.snapshot)
    first, plain, second = received
    assert bytes(first.roster).startswith(b'"')
    assert bytes(plain.roster).startswith(b"{")
    assert roster_of(first) == roster_of(plain)
    assert bytes(first.roster) == bytes(second.roster)
