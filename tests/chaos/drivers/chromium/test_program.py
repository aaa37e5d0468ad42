"""The driver's process before there is a browser: its arguments, its orders, and the words for what is wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from chaos.cli import chaos
from chaos.drivers.chromium.browser import CHROME_PATH
from chaos.drivers.chromium.program import complaint_about, next_line, url_of
from chaos.drivers.messages import Order
from chaos.drivers.process import EXAMPLES
from resilience.errors import DriverError, HarnessError, UsageError

from ....support.chromium import chromium_program
from ....support.deadlines import HANG_S

PAGE = EXAMPLES / "reconnecting.html"


def invoke(*arguments: str, **environment: str) -> Result:
    command = ["driver", "chromium", *arguments]
    return CliRunner(env=environment).invoke(chaos, command, standalone_mode=False)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere.html"], "PAGE: 'nowhere.html': no such file; name an HTML file, or a URL that begins with http"),
        ([str(PAGE), "--script", "nowhere.js"], "--script: 'nowhere.js': No such file or directory; name a file of"),
        (
            [str(PAGE), "--window", "phone"],
            "--window: 'phone': must be the width and the height in CSS pixels, such as",
        ),
        ([str(PAGE), "--window", "0x640"], "--window: '0x640': must be the width and the height in CSS pixels, such"),
        ([str(PAGE), "--browser", "nowhere"], "--browser: 'nowhere': no such program"),
    ],
)
def test_bad_input_is_reported_to_the_laboratory_and_to_the_user(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    """Such as a driver that is started by hand: the words come on both ways."""
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    result = invoke(*arguments, **{CHROME_PATH: str(program)})
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert result.output.startswith('{"type":"error","message":"')
    assert words in result.output


def test_a_machine_without_chromium_fails_the_laboratory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHROME_PATH, raising=False)
    monkeypatch.setenv("PATH", "")
    result = invoke(str(PAGE))
    assert isinstance(result.exception, HarnessError)
    assert '{"type":"error","message":"no Chromium: none of chromium' in result.output


def test_a_page_is_a_url_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a page.html").touch()
    monkeypatch.chdir(tmp_path)
    assert url_of("a page.html") == f"file://{tmp_path}/a%20page.html"
    assert url_of("http://{address}/play") == "http://{address}/play"
    with pytest.raises(UsageError, match="no such file"):
        url_of(str(tmp_path))


@pytest.mark.parametrize(
    "line, words",
    [
        (b"nonsense\n", "no JSON object: nonsense"),
        (b"[1]\n", "no JSON object: [1]"),
        (b'{"type":"somersault"}\n', "unknown message type 'somersault'"),
        (b'{"type":"act","client":3}\n', "act: Expected `str`, got `int` - at `$.client`"),
    ],
)
def test_an_order_that_is_none_is_rejected_in_words(line: bytes, words: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(line, type=Order)
    assert complaint_about(line, caught.value) == words


async def test_an_order_without_an_end_is_rejected() -> None:
    orders = asyncio.StreamReader(limit=4)
    orders.feed_data(b"0123456789\n")
    with pytest.raises(DriverError, match="an order is too long; at most 4 MiB"):
        await next_line(orders)


def test_the_end_of_any_input_ends_the_driver_in_order(tmp_path: Path) -> None:
    """Also of a file, for which no event loop can wait."""
    chromium_program()
    given = tmp_path / "orders"
    given.write_text('{"type":"hello","version":1,"n":1}\n')
    with given.open("rb") as orders:
        done = subprocess.run(
            [sys.executable, "-m", "resilience", "chaos", "driver", "chromium", str(PAGE)],
            stdin=orders,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert '{"type":"ended","t":' in done.stdout
