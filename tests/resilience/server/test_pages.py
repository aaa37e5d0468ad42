"""What a plain GET is answered: for people a page that is whole and harmless, for machines one word and a status."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from html.parser import HTMLParser

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from resilience.server.metrics import Metrics
from resilience.server.pages import EventView, Page, ServerView, duration, not_ready, respond, status_page
from tests.support.virtual_server import HOST, PORT, VirtualServerHarness, play

QUIZ = EventView("quiz", "Friday night", "question", 2, 6, connected=41, away=3, gone=1)
VIEW = ServerView("1.2.3", 3725.4, "wss://quiz.example/ws", connections=44, max_connections=500, events=(QUIZ,))
VOID = {"meta", "br", "link"}


def get(path: str, view: ServerView = VIEW, accept: str = "") -> Page:
    return respond(path, lambda: view, Metrics().exposition, accept)


class Outline(HTMLParser):
    """Checks that tags are balanced; keeps what a reader sees, and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def test_people_see_how_the_server_stands() -> None:
    text = Outline(status_page(VIEW)).text
    for fact in (
        "Ready for new connections",
        "Join at wss://quiz.example/ws",
        "Version 1.2.3, up for 1 h 2 min, 44 open connections of at most 500",
        "Friday night (quiz) question 2 of 6 41 3 1",
    ):
        assert fact in text


def test_an_empty_server_and_a_quiz_that_has_not_begun_are_shown_too() -> None:
    assert "No event is open." in Outline(status_page(ServerView("1", 0.2, "ws://a/ws"))).text
    early = msgspec.structs.replace(QUIZ, question=0, title="", phase="lobby")
    text = Outline(status_page(msgspec.structs.replace(VIEW, events=(early,), max_connections=0))).text
    assert "quiz lobby none yet of 6" in text
    assert "at most" not in text


def test_what_hosts_and_peers_named_is_text_and_nothing_else() -> None:
    evil = '"><script>alert(1)</script>&amp;'
    event = msgspec.structs.replace(QUIZ, event=evil, title=f"{evil}!", phase=evil)
    page = status_page(msgspec.structs.replace(VIEW, events=(event,), address=evil, version=evil))
    assert "<script" not in page
    assert Outline(page).text.count(evil) == 5


def test_the_page_needs_no_script_no_network_and_no_eyesight() -> None:
    page = get("/")
    outline = Outline(page.body.decode())
    assert not [tag for tag, _, _ in outline.attributes if tag in {"script", "img", "link", "iframe"}]
    links = [value or "" for _, name, value in outline.attributes if name in {"href", "src", "action"}]
    assert all(link.startswith("/") for link in links)
    assert not [name for _, name, _ in outline.attributes if name == "style" or name.startswith("on")]
    assert ("html", "lang", "en") in outline.attributes
    assert outline.attributes.count(("th", "scope", "col")) == 6
    assert ("th", "scope", "row") in outline.attributes
    assert len(page.body) < 4096


def test_the_page_stays_fresh_unless_asked_to_hold_still() -> None:
    refresh = ("meta", "http-equiv", "refresh")
    assert refresh in Outline(get("/").body.decode()).attributes
    assert refresh not in Outline(get("/?still").body.decode()).attributes


def test_every_answer_forbids_what_it_does_not_need() -> None:
    for path in ("/", "/healthz", "/readyz", "/metrics", "/nothing"):
        page = get(path)
        headers = dict(page.headers)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Content-Length"] == str(len(page.body))
        assert len(headers) == len(page.headers)


def test_the_policy_lets_the_pages_own_style_in() -> None:
    page = get("/")
    (style,) = re.findall(r"<style>(.*)</style>", page.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in dict(page.headers)["Content-Security-Policy"]


def test_health_asks_nothing_but_that_the_process_answers() -> None:
    def unasked() -> ServerView:
        pytest.fail("health does not depend on the view")

    page = respond("/healthz", unasked, Metrics().exposition)
    assert (page.status, page.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"draining": True}, "draining: connections are being closed"),
        ({"commit_failed": True}, "database: the last commit was not taken"),
        ({"commit_under_way_for": 3.25}, "database: it has not replied to a commit for 3.2 s"),
        ({"recovering": 1}, "database: 1 event waits for it to be recovered"),
        ({"recovering": 2}, "database: 2 events wait for it to be recovered"),
        ({"loop_lag": 0.75}, "overloaded: the loop ran 0.75 s late, at most 0.5 s"),
        ({"connections": 500}, "full: 500 of 500 connections"),
    ],
)
def test_readiness_is_denied_with_its_reason(change: dict[str, float], reason: str) -> None:
    view = msgspec.structs.replace(VIEW, **change)
    page = get("/readyz", view)
    assert (page.status, page.body.decode()) == (503, f"{reason}\n")
    assert reason in Outline(status_page(view)).text
    assert "Quiz server: not ready" in Outline(status_page(view)).text


def test_readiness_names_every_reason_and_none_when_there_is_none() -> None:
    assert (get("/readyz").status, get("/readyz").body) == (200, b"ready\n")
    assert not not_ready(msgspec.structs.replace(VIEW, max_connections=0, connections=9999))
    page = get("/readyz", msgspec.structs.replace(VIEW, draining=True, commit_failed=True))
    assert page.body.count(b"\n") == 2


def test_the_metrics_are_handed_through_in_the_format_that_is_accepted() -> None:
    plain, opened = get("/metrics"), get("/metrics?x=1", accept="application/openmetrics-text")
    assert dict(plain.headers)["Content-Type"].startswith("text/plain")
    assert dict(opened.headers)["Content-Type"].startswith("application/openmetrics-text")
    assert opened.body.endswith(b"# EOF\n")


def test_other_paths_are_pointed_to_those_that_exist() -> None:
    page = get("/metrics/")
    assert page.status == 404
    assert b"/healthz" in page.body


@pytest.mark.parametrize(
    "seconds, words", [(-1, "0 s"), (0.9, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (93_784, "1 d 2 h")]
)
def test_spans_are_written_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_page_goes_through_the_websocket_library_as_it_is() -> None:
    """The wiring of the gateway: a request that is no upgrade gets status, headers and body."""

    def route(connection: ServerConnection, request: Request) -> Response | None:
        page = get(request.path, accept=request.headers.get("Accept", ""))
        return Response(page.status.value, page.status.phrase, Headers(page.headers), page.body)

    async def handler(connection: ServerConnection) -> None:
        pytest.fail("no client upgrades here")

    async def ask(path: str) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, PORT)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
        writer.close()
        return answer

    async def script(harness: VirtualServerHarness) -> None:
        async with serve(handler, HOST, PORT, process_request=route, server_header=None):
            head, _, body = (await ask("/readyz")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nX-Content-Type-Options: nosniff" in head
            assert body == b"ready\n"
            assert (await ask("/")).endswith(b"</html>\n")

    play(script)
