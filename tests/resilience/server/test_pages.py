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

from resilience.config import ServerConfig
from resilience.server.metrics import CachedExposition, Metrics
from resilience.server.page import Page, PageRequest
from resilience.server.pages import (
    EventView,
    ServerView,
    duration,
    not_ready,
    origin_form,
    respond,
    status_page,
    too_many_requests,
)
from tests.support.virtual_server import HOST, PORT, VirtualServerHarness, play
from tests.support.websocket import http, rejection
from tests.support.websocket import serve as serve_quiz

QUIZ = EventView("quiz", "Friday night", "question", 2, 6, connected=41, away=3, gone=1)
VIEW = ServerView("1.2.3", 3725.4, "wss://quiz.example/ws", connections=44, max_connections=500, events=(QUIZ,))
VOID = {"meta", "br", "link"}


def get(path: str, view: ServerView = VIEW, accept: str = "", method: str = "GET") -> Page:
    return respond(PageRequest(path, method, accept=accept), lambda: view, Metrics().exposition)


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

    page = respond(PageRequest("/healthz"), unasked, Metrics().exposition)
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


# what is not a plain GET ----------------------------------------------------------------------------------------------

PATHS = ("/", "/healthz", "/readyz", "/metrics", "/nothing")


@pytest.mark.parametrize("path", PATHS)
def test_head_receives_the_head_of_get_and_no_body(path: str) -> None:
    view = msgspec.structs.replace(VIEW, draining=True)
    page, head = get(path, view), get(path, view, method="HEAD")
    assert (head.status, head.body) == (page.status, b"")
    if path != "/metrics":  # its numbers move
        assert head.headers == page.headers


@pytest.mark.parametrize("path", PATHS)
def test_options_receives_the_status_of_get_and_what_is_allowed(path: str) -> None:
    """Some proxies check health with it."""
    view = msgspec.structs.replace(VIEW, draining=True)
    page = get(path, view, method="OPTIONS")
    assert (page.status, page.body) == (get(path, view).status, b"")
    assert dict(page.headers)["Allow"] == "GET, HEAD, OPTIONS"
    assert dict(page.headers)["Content-Length"] == "0"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "CONNECT", "get", "X"])
def test_other_methods_are_refused_with_those_that_are_allowed(method: str) -> None:
    page = get("/healthz", method=method)
    assert page.status == 405
    assert dict(page.headers)["Allow"] == "GET, HEAD, OPTIONS"
    assert dict(page.headers)["Content-Length"] == str(len(page.body))


@pytest.mark.parametrize(
    "target, path",
    [
        ("/metrics?x=http://a/b", "/metrics?x=http://a/b"),
        ("http://quiz.internal:8765/metrics?x", "/metrics?x"),
        ("https://quiz.example", "/"),
        ("http://quiz.example?still", "/?still"),
        ("*", "/"),
        ("quiz.example:80", "quiz.example:80"),
        ("", ""),
    ],
)
def test_an_absolute_target_is_read_as_its_path(target: str, path: str) -> None:
    assert origin_form(target) == path


def test_an_address_that_asks_too_often_receives_whole_seconds_to_wait() -> None:
    page = too_many_requests(0.05)
    assert (page.status, dict(page.headers)["Retry-After"]) == (429, "1")


def test_the_exposition_is_made_once_a_second_for_each_format() -> None:
    """Whatever is accepted: the header is a stranger's word, and no number of them costs more or is remembered."""
    made: list[str] = []

    class CountedMetrics(Metrics):
        def exposition(self, accept: str = "") -> tuple[str, bytes]:
            made.append(accept)
            return super().exposition(accept)

    now = [0.0]
    cached = CachedExposition(CountedMetrics(), lambda: now[0])
    for i in range(100):
        now[0] = i / 50
        plain, opened = cached(f"text/html;q=0.{i}"), cached("application/openmetrics-text; version=1.0.0;q=0.9,*/*")
        cached(f"application/openmetrics-text; version=9.{i}")
        assert plain[0].startswith("text/plain")
        assert opened[0].startswith("application/openmetrics-text; version=1.0.0")
        assert opened[1].endswith(b"# EOF\n")
    assert len(made) == 4
    assert len(cached._made) == 2


def request(line: str, *headers: str, body: str = "") -> bytes:
    return "".join(f"{part}\r\n" for part in (line, "Host: x", *headers, "")).encode() + body.encode()


def test_every_request_over_a_socket_is_answered() -> None:
    """Also one that is no GET, is written as proxies write it, has a body, or is no HTTP."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve_quiz(harness)
        for asked, status, body in (
            (request("GET /healthz HTTP/1.1"), b"200", b"ok\n"),
            (request("HEAD /healthz HTTP/1.1"), b"200", b""),
            (request("OPTIONS / HTTP/1.0"), b"200", b""),
            (request("GET http://quiz.internal/healthz HTTP/1.1"), b"200", b"ok\n"),
            (request("POST /healthz HTTP/1.1"), b"405", b"this page can be read only: GET, HEAD or OPTIONS\n"),
            (request("POST /ws HTTP/1.1"), b"405", None),
            (request("GET /healthz HTTP/1.1", "Content-Length: 2", body="{}"), b"400", None),
            (request("GET /healthz HTTP/1.1", "Transfer-Encoding: chunked", body="0\r\n\r\n"), b"400", None),
            (b"SSH-2.0-x\r\n", b"400", None),
        ):
            head, _, received = (await http(asked)).partition(b"\r\n\r\n")
            assert head.split(b" ")[1] == status, asked
            length = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
            if not asked.startswith(b"HEAD"):
                assert length == [b"Content-Length: %d" % len(received)]
            assert body in (received, None)
        await asyncio.sleep(10)
        assert app.connections() == 0

    play(script)


def test_pages_are_limited_for_each_address_and_the_quiz_is_not() -> None:
    async def script(harness: VirtualServerHarness) -> None:
        await serve_quiz(harness, ServerConfig(address_page_rate=1.0, address_page_burst=3))
        asked = request("GET /metrics HTTP/1.1")
        answers = await asyncio.gather(*(http(asked) for _ in range(5)))
        assert [answer.split(b" ")[1] for answer in answers] == [b"200"] * 3 + [b"429"] * 2
        assert all(b"\r\nRetry-After: 1\r\n" in answer for answer in answers[3:])
        assert 1.0 < harness.clock.now() < 1.1  # a refusal is slow: the next request of a loop comes after it
        assert await rejection() is None
        assert (await http(asked)).split(b" ")[1] == b"200"

    play(script)
