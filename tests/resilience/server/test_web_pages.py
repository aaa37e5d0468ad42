"""The pages for people: whole, of this server alone, under a strict policy; a QR code of an address that works."""

from __future__ import annotations

import re
from http import HTTPStatus

import pytest

from resilience.policy.handshake import HandshakeLimits, HandshakePolicy, HandshakeRequest
from resilience.server.metrics import Metrics
from resilience.server.page import Page
from resilience.server.pages import ServerView, respond
from resilience.server.web_pages import DOCUMENTS, is_web_file, join_address, web_files, web_page

ORIGIN = "http://192.168.1.7:8765"
VIEW = ServerView("1", 1.0, "ws://x/ws")


def get(path: str, method: str = "GET") -> Page:
    return respond(path, lambda: VIEW, Metrics().exposition, "", method, origin=ORIGIN)


def header(page: Page, name: str) -> str:
    return dict(page.headers)[name]


@pytest.mark.parametrize("path", [*DOCUMENTS, "/join?event=quiz"])
def test_a_document_names_files_of_this_server_only_and_each_is_there(path: str) -> None:
    page = get(path)
    assert page.status == HTTPStatus.OK
    text = page.body.decode()
    named = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert any("/pages/" in name for name in named)
    assert {get(name).status for name in named} == {HTTPStatus.OK}
    assert "://" not in text
    assert "<style" not in text


def test_the_policy_admits_nothing_from_elsewhere_and_nothing_inline() -> None:
    policy = header(get("/join"), "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_every_import_of_a_script_is_a_file_that_is_served() -> None:
    found = web_files()
    for name, content in found.contents.items():
        if not name.endswith(".js") or name.startswith("vendor/"):
            continue
        for imported in re.findall(r' from "([^"]+)";', content.decode()):
            if "@import" not in imported:
                assert imported.startswith("."), f"{name} imports {imported} from elsewhere"
    assert "vendor/preact.js" in found.contents
    assert not [name for name in found.contents if name.endswith((".d.ts", ".md")) or "LICENSE" in name]


def test_a_document_preloads_all_that_its_script_needs() -> None:
    text = get("/play").body.decode()
    assert f'modulepreload" href="{web_files().path("machine/connection.js")}"' in text
    assert "host-session" not in text


def test_files_are_kept_and_those_of_another_version_are_not_found() -> None:
    path = web_files().path("style.css")
    assert "immutable" in header(get(path), "Cache-Control")
    assert header(get(path), "Content-Type").startswith("text/css")
    other = path.replace(web_files().digest, "0" * 16)
    assert get(other).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    "name", ["", "..%2f..%2fconfig.py", "../../config.py", "vendor/LICENSE-htm", "machine/messages.d.ts"]
)
def test_nothing_else_is_served(name: str) -> None:
    assert get(web_files().path(name)).status == HTTPStatus.NOT_FOUND


def test_documents_may_be_kept_by_the_page_cache() -> None:
    assert header(get("/play"), "Cache-Control") == "no-cache"


def test_the_head_and_the_options_of_a_document() -> None:
    assert get("/join", "HEAD").body == b""
    assert header(get("/join", "OPTIONS"), "Allow").startswith("GET")
    assert get("/join", "POST").status == HTTPStatus.METHOD_NOT_ALLOWED


def test_the_qr_code_is_a_picture() -> None:
    page = get("/join.svg?event=quiz")
    assert header(page, "Content-Type").startswith("image/svg+xml")
    assert page.body.startswith(b"<svg ")
    assert page.body != get("/join.svg?event=other").body


@pytest.mark.parametrize("query", ["", "?event=", "?event=" + "x" * 65, "?event=%00"])
def test_a_qr_code_of_no_event_is_refused_with_the_rule(query: str) -> None:
    page = get(f"/join.svg{query}")
    assert page.status == HTTPStatus.BAD_REQUEST
    assert page.body.startswith(b"event: expected")


def test_a_qr_code_that_no_phone_could_read_is_refused() -> None:
    page = web_page("/join.svg?event=quiz", "http://" + "x" * 5000)
    assert page is not None
    assert page.status == HTTPStatus.BAD_REQUEST


def test_an_event_is_quoted_in_its_address() -> None:
    assert join_address(ORIGIN, "a b/ü&") == f"{ORIGIN}/join?event=a%20b%2F%C3%BC%26"


def test_a_class_behind_one_address_can_load_the_pages_at_once() -> None:
    """Files count as connections do, the dearer pages by a limit of their own."""
    limits = HandshakeLimits(100, 100.0, 2.0, 1000.0, 20_000, 60.0, address_page_rate=20.0, address_page_burst=100)
    policy, request = HandshakePolicy(limits), HandshakeRequest("10.0.0.1")
    assert not any(policy.page_wait(request, 0.0, is_file=True) for _ in range(30 * 35))
    assert any(policy.page_wait(request, 0.0) for _ in range(30 * 35))
    assert all(is_web_file(path) for path in ("/join?event=x", "/host", web_files().path("style.css")))
    assert not any(is_web_file(path) for path in ("/", "/metrics", "/join.svg?event=x"))
