"""A defect of the server in one connection: it is logged, and the peer receives an answer or a close."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from resilience.server.gateway import Gateway
from tests.support.virtual_server import VirtualServerHarness, play
from tests.support.websocket import close_code, dial, serve


async def ending() -> int:
    """The status of a dial that is refused, or the code with which it is closed."""
    try:
        async with await dial() as socket:
            return (await close_code(socket))[0]
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize("method, code", [("process_handshake", 500), ("handshake_completed", 1011)])
def test_a_defect_before_or_after_the_upgrade_is_answered(
    method: str, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that was upgraded gets a close, since it can get no response; no second error hides the first."""

    def fails(*_: object) -> None:
        raise ValueError(method)

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        monkeypatch.setattr(Gateway, method, fails)
        assert await ending() == code

    play(script)
    assert [record.exc_text is not None and method in record.exc_text for record in caplog.records] == [True]
