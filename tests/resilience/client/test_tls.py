"""TLS over real sockets: who is trusted, and the causes of what fails. Certificates are made by ``openssl``."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve

from resilience.client.client import connect
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from tests.support.deadlines import HANG_S
from tests.support.machines import joined

from .scripted import hear, say

MADE_BY = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of ``localhost`` that signs itself, and its key."""
    if shutil.which("openssl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs openssl, which is not on PATH")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    names = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made))
    subprocess.run([*MADE_BY.split(), *names], check=True, capture_output=True, timeout=HANG_S)
    return made, key


class TlsServer:
    """A server with TLS, one without, and what their clients said."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self.heard: list[object] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> tuple[int, int]:
        ports = []
        for context in (self._context, None):
            serving = serve(self._welcome, "127.0.0.1", 0, ssl=context, compression=None)
            server = await self._stack.enter_async_context(serving)
            ports.append(next(iter(server.sockets)).getsockname()[1])
        return ports[0], ports[1]

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _welcome(self, connection: ServerConnection) -> None:
        await hear(connection)
        await say(connection, joined())
        async for message in connection:
            self.heard.append(message)


async def first_outcome(url: str) -> str | None:
    """The cause of the first dial's failure; ``None`` if the session was opened, which is then left."""
    news: asyncio.Queue[Record] = asyncio.Queue()
    client = connect(url, name="Ada", log=news.put_nowait)
    client.start()
    async with asyncio.timeout(HANG_S):
        while True:
            record = await news.get()
            if record.kind is LogEventKind.TRANSPORT_FAILED:
                await client.stop()
                return record.cause
            if record.kind is LogEventKind.SESSION_JOINED:
                await client.leave()
                return None


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop], ids=["asyncio", "uvloop"])
def test_a_client_joins_and_leaves_over_tls_and_trusts_no_stranger(
    kind: type[asyncio.AbstractEventLoop], certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    async def main() -> None:
        server = TlsServer(certificate)
        async with server as (secure, plain):
            assert await first_outcome(f"wss://localhost:{secure}/ws") == "certificate"
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            assert await first_outcome(f"wss://localhost:{secure}/ws") is None
            assert await first_outcome(f"wss://127.0.0.1:{secure}/ws") == "certificate", "its name is another"
            assert await first_outcome(f"wss://localhost:{plain}/ws") in ("closed", "tls")
            assert await first_outcome(f"ws://localhost:{secure}/ws") == "closed"
        assert b'"leave"' in b"".join(each.encode() for each in server.heard if isinstance(each, str))

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())
