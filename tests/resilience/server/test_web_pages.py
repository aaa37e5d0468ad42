"""The pages for people: whole, of this server alone, under a strict policy; a QR code of an address that works."""

from __future__ import annotations

import gzip
import re
from http import HTTPStatus

import pytest
from msgspec import inspect

from resilience.cli import root
from resilience.errors import ExitCode
from resilience.policy.handshake import HandshakeLimits, HandshakePolicy, HandshakeRequest
from resilience.quiz.questions import Question
from resilience.server import serve, web_pages
from resilience.server.bundle import BundleError
from resilience.server.metrics import Metrics
from resilience.server.page import Page, PageRequest, Resource, accepts_gzip
from resilience.server.pages import ServerView, respond
from resilience.server.web_pages import DOCUMENTS, is_web_file, join_address, prepare, web_files, web_page

ORIGIN = "http://192.168.1.7:8765"
FILES_OF_A_PAGE = 4
"""The document, its script, its style and the icon."""

VIEW = ServerView("1", 1.0, "ws://x/ws")


def get(path: str, method: str = "GET", *, coding: str = "", known: str = "") -> Page:
    request = PageRequest(path, method, ORIGIN, accept_encoding=coding, if_none_match=known)
    return respond(request, lambda: VIEW, Metrics().exposition)


def header(page: Page, name: str) -> str:
    return dict(page.headers)[name]


@pytest.mark.parametrize("path", [*DOCUMENTS, "/join?event=quiz"])
def test_a_document_names_files_of_this_server_only_and_each_is_there(path: str) -> None:
    page = get(path)
    assert page.status == HTTPStatus.OK
    text = page.body.decode()
    named = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert len(named) == FILES_OF_A_PAGE - 1
    assert any("/bundles/" in name for name in named)
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


def test_a_script_holds_all_modules_that_it_needs_and_no_others() -> None:
    text = get(web_files().path("bundles/participant.js")).body.decode()
    assert text.index("// vendor/preact.js\n") < text.index("// pages/participant.js\n")
    assert "\n// machine/connection.js\n" in text
    assert "host-session" not in text


def forget_all() -> None:
    """As in a process that has just started: nothing is made yet."""
    for made in (web_pages.web_files, web_pages._web_file, web_pages._document):
        made.cache_clear()


def test_what_is_prepared_is_made_for_no_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_all()
    prepare()

    def made_late(content_type: str, body: bytes) -> Resource:
        pytest.fail(f"made for a visitor: {content_type} {body[:40]!r}")

    monkeypatch.setattr(web_pages, "resource", made_late)
    for path in (*DOCUMENTS, *map(web_files().path, web_files().contents)):
        assert get(path).status == HTTPStatus.OK


def test_a_server_whose_pages_cannot_be_made_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a database is opened; it would have answered every visitor with 500."""

    def damaged(entry: str, sources: object) -> str:
        raise BundleError(f"{entry}: is damaged")

    forget_all()
    monkeypatch.setattr(web_pages, "bundle", damaged)
    for step in ("configure", "raise_open_files"):
        monkeypatch.setattr(serve, step, lambda: None)
    with pytest.raises(BundleError, match=r"^pages/(participant|host)\.js: is damaged$") as refused:
        root.main(["serve", "--db", "sqlite:////nowhere/quiz.db"], standalone_mode=False)
    assert refused.value.exit_code == ExitCode.HARNESS


def test_the_editor_offers_as_many_choices_as_a_server_takes() -> None:
    fields = {field.name: field.type for field in inspect.type_info(Question).fields}  # type: ignore[attr-defined]
    (most,) = re.findall(r"^export const MOST_CHOICES = (\d+);$", text_of("machine/plan-draft.js"), re.MULTILINE)
    assert int(most) == fields["choices"].max_length
    assert "a question has twelve at most" in text_of("components/choices.js")
    assert int(most) == 12


def text_of(name: str) -> str:
    return web_files().contents[name].decode()


NAMES = ["/join", "/join.svg?event=quiz", web_files().path("bundles/host.js"), web_files().path("style.css")]
IDS = ["document", "qr code", "script", "style"]


@pytest.mark.parametrize("path", NAMES, ids=IDS)
def test_what_a_browser_has_is_not_sent_again(path: str) -> None:
    first = get(path, coding="gzip")
    again = get(path, coding="gzip", known=f'"other", {header(first, "ETag")}')
    assert (again.status, again.body) == (HTTPStatus.NOT_MODIFIED, b"")
    names = {name for name, _ in again.headers}
    assert "Content-Length" not in names
    assert all(header(again, name) == header(first, name) for name in ("ETag", "Cache-Control", "Vary"))
    assert get(path, known=header(first, "ETag").removeprefix("W/")).status == HTTPStatus.NOT_MODIFIED
    assert get(path, known='W/"other"').status == HTTPStatus.OK
    assert get(path, "OPTIONS", known=header(first, "ETag")).status == HTTPStatus.OK


def test_pages_have_tags_of_their_own() -> None:
    assert len({header(get(path), "ETag") for path in NAMES}) == len(NAMES)


@pytest.mark.parametrize("path", NAMES, ids=IDS)
def test_files_are_compressed_for_those_who_ask(path: str) -> None:
    plain, packed = get(path), get(path, coding="deflate, gzip;q=0.5")
    assert "Content-Encoding" not in dict(plain.headers)
    assert header(packed, "Content-Encoding") == "gzip"
    assert header(packed, "Content-Length") == str(len(packed.body))
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    assert header(plain, "Vary") == header(packed, "Vary") == "Accept-Encoding"


@pytest.mark.parametrize(
    "header_sent, accepted",
    [("", False), ("br", False), ("GZIP", True), ("gzip;q=0", False), ("gzip; q=0.000", False), ("br,gzip;q=1", True)],
)
def test_gzip_is_sent_only_where_it_is_admitted(header_sent: str, *, accepted: bool) -> None:
    assert accepts_gzip(header_sent) is accepted


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
    page = web_page(PageRequest("/join.svg?event=quiz", origin="http://" + "x" * 5000))
    assert page is not None
    assert page.status == HTTPStatus.BAD_REQUEST


def test_an_event_is_quoted_in_its_address() -> None:
    assert join_address(ORIGIN, "a b/ü&") == f"{ORIGIN}/join?event=a%20b%2F%C3%BC%26"


def test_a_hall_behind_one_address_can_load_the_pages_at_once() -> None:
    """Files count as connections do, the dearer pages by a limit of their own."""
    limits = HandshakeLimits(100, 100.0, 2.0, 1000.0, 20_000, 60.0, address_page_rate=20.0, address_page_burst=100)
    policy, request = HandshakePolicy(limits), HandshakeRequest("10.0.0.1")
    assert not any(policy.page_wait(request, 0.0, is_file=True) for _ in range(300 * FILES_OF_A_PAGE))
    assert any(policy.page_wait(request, 0.0) for _ in range(300 * FILES_OF_A_PAGE))
    assert all(is_web_file(path) for path in ("/join?event=x", "/host", web_files().path("style.css")))
    assert not any(is_web_file(path) for path in ("/", "/metrics", "/join.svg?event=x"))
