"""What the pages say in prose and can be held to the code: paths, refusals, numbers, names."""

from __future__ import annotations

import inspect
import re

from resilience.policy.close_codes import CloseCode, RetryClass, retry_class
from resilience.protocol.server.connection import MAX_HOST_MESSAGE_BYTES
from resilience.protocol.server.tokens import MAX_RETIRED_TOKENS
from resilience.server import pages as server_pages
from resilience.server.app import WEBSOCKET_PATH
from resilience.server.page import PageRequest
from resilience.server.pages import ServerView, respond
from resilience.server.serve import TOKEN_BYTES
from resilience.settings import HOST_KEY, LEAST_KEY

from .markdown import table_under

READY = ServerView("1", 0.0, "ws://here/ws", 0, 10, draining=False, commit_failed=False, loop_lag=0.0, events=())


def test_the_paths_are_those_that_are_served(pages: dict[str, str]) -> None:
    rows = table_under(pages["docs/protocol.md"], "## Before the WebSocket")
    shown = {row[0].strip("`") for row in rows}
    source = inspect.getsource(server_pages)
    assert shown == {WEBSOCKET_PATH, *re.findall(r'case "(/\w*)":', source)}
    for path in shown - {WEBSOCKET_PATH}:
        assert respond(PageRequest(path), lambda: READY, lambda _: ("text/plain", b"")).status == 200


def test_the_refusals_of_a_handshake_are_those_of_the_policy(pages: dict[str, str]) -> None:
    rows = table_under(pages["docs/protocol.md"], "`Origin`) is accepted and closed with that code at once.")
    assert {row[0]: row[2].partition(" ")[0] for row in rows} == {"403": "never", "429": "after", "503": "after"}
    assert retry_class(CloseCode.OVERLOADED) is RetryClass.RETRY_ADVISED


def test_numbers_in_prose_are_those_of_the_code(pages: dict[str, str]) -> None:
    resume, protocol, configuration = (pages[f"docs/{name}.md"] for name in ("resume", "protocol", "configuration"))
    assert f"the last {MAX_RETIRED_TOKENS:,} of".replace(",", " ") in resume
    assert f"{TOKEN_BYTES * 8} random bits" in resume
    assert MAX_HOST_MESSAGE_BYTES == 2**20
    assert "a host's 1 MiB" in protocol
    assert f"`{HOST_KEY}`" in configuration
    assert f"has {LEAST_KEY} to 256 characters" in configuration


def test_ranges_of_close_codes_are_classed_as_the_page_says() -> None:
    for codes, expected in (
        (range(4000, 4100), RetryClass.RETRY),
        (range(4100, 4200), RetryClass.RETRY_ADVISED),
        (range(4200, 4300), RetryClass.NEVER),
        (range(4300, 5000), RetryClass.RETRY),
    ):
        assert {retry_class(code) for code in codes} == {expected}


def test_every_failure_mode_that_is_cited_is_in_the_table(pages: dict[str, str]) -> None:
    text = pages["docs/resume.md"]
    table = {row[0]: row[1].strip("`") for row in table_under(text, "## Failure modes and their remedies")}
    cited = dict(re.findall(r"\b(F\d+), `(\w+)`", text))
    assert len(cited) >= 15
    assert {number: table.get(number) for number in cited} == cited
