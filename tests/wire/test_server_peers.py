"""The server with clients of other libraries: each joins, answers, leaves, comes back, and is the same participant."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import skip_unless_ci
from tests.support.deadlines import HANG_S
from tests.support.server_process import ADDRESS, target
from tests.support.virtual_server import CALM, HOST, PORT, VirtualServerHarness, empty_store, play

from .peers import Peer, SyncPeer, WsprotoPeer

Dial = Callable[[], Awaitable[Peer]]
SETTINGS = "[quiz]\nquestions = 2\nlobby = 1.0\nquestion_time = 600.0\n"
CHOICE = 2
SCRIPT = Path(__file__).with_name("node_peer.mjs")


async def say(peer: Peer, **fields: object) -> None:
    """Send a message."""
    await peer.send(json.dumps(fields))


async def hear(peer: Peer, *kinds: str) -> dict[str, Any]:
    """The next message of one of these types."""
    while True:
        message: dict[str, Any] = json.loads(await peer.receive())
        if message["type"] in kinds:
            return message


async def take_part(dial: Dial) -> None:
    """A whole participation: two connections, one participant, one answer."""
    peers = [await dial()]
    try:
        token, participant = await join_and_answer(peers[0])
        peers.append(await dial())
        await resume_and_leave(peers[1], token, participant)
    finally:
        for peer in peers:
            await peer.end()


async def join_and_answer(peer: Peer) -> tuple[str, str]:
    """The first connection; returns the token and the id of its participant."""
    assert peer.extensions == []
    await say(peer, type="join", event="quiz", name="Zoë", instance="i")
    joined = await hear(peer, "joined")
    await say(peer, type="token_stored", generation=1)
    question = joined["snapshot"].get("question") or (await hear(peer, "question_opened"))["question"]
    await peer.ping(b"\x00\xff are you there?")
    await say(peer, type="probe", id=7)
    assert (await hear(peer, "probe_reply"))["id"] == 7
    await say(peer, type="answer", question=question["id"], choice=CHOICE, key="ключ")
    result = await hear(peer, "answer_result")
    assert (result["question"], result["key"], result["verdict"]) == (question["id"], "ключ", "accepted")
    assert await peer.close() == 1000
    return joined["credentials"]["token"], joined["credentials"]["participant"]


async def resume_and_leave(peer: Peer, token: str, participant: str) -> None:
    """The second connection."""
    await say(peer, type="resume", event="quiz", token=token)
    restored = await hear(peer, "state_restored")
    assert restored["credentials"]["participant"] == participant
    assert restored["snapshot"]["answer"] == CHOICE
    await say(peer, type="token_stored", generation=2)
    await say(peer, type="leave")
    with pytest.raises(Exception, match="4201"):  # each library has an exception of its own
        await hear(peer, "nothing")


def test_wsproto_in_virtual_time() -> None:
    async def script(harness: VirtualServerHarness) -> None:
        server = await harness.serve(quiz=CALM, store=empty_store())
        await take_part(lambda: WsprotoPeer.dial(HOST, PORT))
        await harness.until(lambda: server.connections() == 0)

    play(script)


async def test_the_synchronous_client_of_websockets_over_real_sockets(tmp_path: Path) -> None:
    async with target(tmp_path, SETTINGS) as served:
        await take_part(lambda: SyncPeer.dial(ADDRESS, served.port))
        assert served.noise() == []


def node_with_websocket() -> list[str]:
    """How to run a script of Node.js that uses its WebSocket."""
    program = shutil.which("node")
    for flags in ([], ["--experimental-websocket"]) if program else ():
        command = [str(program), *flags]
        asked = [*command, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return command
    skip_unless_ci("needs Node.js 22, or 20.10 with its experimental WebSocket")
    return []


async def test_node_over_real_sockets(tmp_path: Path) -> None:
    """The client of Node.js, which is undici's."""
    command = node_with_websocket()
    async with target(tmp_path, SETTINGS) as served:
        done = await asyncio.create_subprocess_exec(
            *command, str(SCRIPT), served.url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(HANG_S):
            output, errors = await done.communicate()
        assert served.noise() == []
    assert done.returncode == 0, errors.decode()
    assert json.loads(output) == {
        "extensions": "",
        "verdict": "accepted",
        "closed": [1000, True],
        "same": True,
        "answer": CHOICE,
        "left": [4201, True],
    }
