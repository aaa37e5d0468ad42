"""Answers to plain HTTP requests: status, health, readiness, metrics, people's pages. Pure functions of view and path.

Shows numbers and names of events, no participant and no secret. The status page needs no script, no second request and
no network; it reloads every few seconds unless asked not to. Liveness (``/healthz``) and readiness (``/readyz``) are
separate: restarting a server that is full, or whose database is away, cures nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from http import HTTPStatus

import jinja2
import msgspec

from resilience.server.page import HTML, TEXT, Page, PageRequest, page
from resilience.server.web_pages import web_page
from resilience.units import Seconds

REFRESH_INTERVAL_S: Seconds = 5
MAX_HEALTHY_LAG_S: Seconds = 0.5
"""A loop that runs later than this is not ready for new connections."""

MAX_HEALTHY_COMMIT_S: Seconds = 2.0
"""Nor is a server whose database has not replied to a commit for so long."""

_KNOWN = (
    b"nothing here; try /join, /host or / for people, /healthz, /readyz and /metrics for machines, /ws for the quiz\n"
)

METHODS = ("GET", "HEAD", "OPTIONS")
_ALLOW = ("Allow", ", ".join(METHODS))

Exposition = Callable[[str], tuple[str, bytes]]
"""Content type and body of the metrics, for an ``Accept`` header."""


class EventView(msgspec.Struct, frozen=True):
    """One event on the status page; ``question`` counts from 1 and is 0 before the first."""

    event: str
    title: str
    phase: str
    question: int
    questions: int
    connected: int
    away: int
    gone: int = 0


class ServerView(msgspec.Struct, frozen=True):
    """The server's status; durations in seconds.

    ``address`` is the WebSocket URL (``ws://host/ws``). ``connections`` are those whose handshake has arrived;
    ``max_connections`` 0 means no limit. ``commit_failed`` is whether the last commit failed. ``loop_lag`` is how late
    the loop runs now. ``recovering`` counts the events that wait for the database, ``commit_under_way_for`` is how long
    it has not replied to the present commit. ``missing`` are the events that this server was started for and that
    another one serves.
    """

    version: str
    uptime: Seconds
    address: str
    connections: int = 0
    max_connections: int = 0
    draining: bool = False
    commit_failed: bool = False
    loop_lag: Seconds = 0.0
    events: tuple[EventView, ...] = ()
    recovering: int = 0
    commit_under_way_for: Seconds = 0.0
    missing: tuple[str, ...] = ()


def respond(request: PageRequest, view: Callable[[], ServerView], exposition: Exposition) -> Page:
    """The response to a request; ``view`` is called only for pages that show it.

    HEAD receives the head of GET's response. So does OPTIONS, with which some proxies check the health of a server.
    Other methods receive 405.
    """
    method = request.method
    if method not in METHODS:
        refused = _page(HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"this page can be read only: GET, HEAD or OPTIONS\n")
        return msgspec.structs.replace(refused, headers=(*refused.headers, _ALLOW))
    if method == "OPTIONS":
        found = _found(msgspec.structs.replace(request, if_none_match=""), view, exposition)
        return Page(found.status, (*_replaced(found.headers, "Content-Length", "0"), _ALLOW), b"")
    found = _found(request, view, exposition)
    return found if method == "GET" else msgspec.structs.replace(found, body=b"")


def too_many_requests(wait: Seconds) -> Page:
    """The response to an address that asks for too many pages and may ask again in ``wait`` seconds."""
    refused = _page(HTTPStatus.TOO_MANY_REQUESTS, TEXT, b"too many requests from this address\n")
    return msgspec.structs.replace(refused, headers=(*refused.headers, ("Retry-After", str(math.ceil(wait)))))


def origin_form(target: str) -> str:
    """The path and query of a request target: also of an absolute one, as proxies send it (RFC 9112, 3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if not separator or "/" in scheme or "?" in scheme:
        return "/" if target == "*" else target
    authority_end = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    path = rest[authority_end:]
    return path if path.startswith("/") else f"/{path}"


def _found(request: PageRequest, view: Callable[[], ServerView], exposition: Exposition) -> Page:
    return web_page(request) or _get(request, view, exposition)


def _get(request: PageRequest, view: Callable[[], ServerView], exposition: Exposition) -> Page:
    route, _, query = request.path.partition("?")
    match route:
        case "/":
            return _page(HTTPStatus.OK, HTML, status_page(view(), refresh=query != "still").encode())
        case "/healthz":
            return _page(HTTPStatus.OK, TEXT, b"ok\n")
        case "/readyz":
            reasons = not_ready(view())
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return _page(status, TEXT, "".join(f"{line}\n" for line in reasons or ("ready",)).encode())
        case "/metrics":
            return _page(HTTPStatus.OK, *exposition(request.accept))
        case _:
            return _page(HTTPStatus.NOT_FOUND, TEXT, _KNOWN)


def not_ready(view: ServerView) -> tuple[str, ...]:
    """The reasons against new connections; empty when the server is ready."""
    full = 0 < view.max_connections <= view.connections
    reasons = {
        "draining: connections are being closed": view.draining,
        "database: the last commit was not taken": view.commit_failed,
        f"database: it has not replied to a commit for {view.commit_under_way_for:.1f} s": view.commit_under_way_for
        > MAX_HEALTHY_COMMIT_S,
        f"database: {_events(view.recovering)} for it to be recovered": view.recovering > 0,
        f"overloaded: the loop ran {view.loop_lag:.2f} s late, at most {MAX_HEALTHY_LAG_S:g} s": view.loop_lag
        > MAX_HEALTHY_LAG_S,
        "events: " + ", ".join(view.missing) + " served by another server of this database": bool(view.missing),
        f"full: {view.connections} of {view.max_connections} connections": full,
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


def _events(count: int) -> str:
    return "1 event waits" if count == 1 else f"{count} events wait"


def status_page(view: ServerView, *, refresh: bool = True) -> str:
    """The status page as HTML; with ``refresh`` it reloads itself every ``REFRESH_INTERVAL_S``."""
    return _ENVIRONMENT.get_template("status.html.j2").render(view=view, reasons=not_ready(view), refresh=refresh)


def _replaced(headers: tuple[tuple[str, str], ...], name: str, value: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, value if key == name else old) for key, old in headers)


def _page(status: HTTPStatus, content_type: str, body: bytes) -> Page:
    return page(status, content_type, body, policy=_POLICY)


def duration(seconds: Seconds) -> str:
    """A duration in its two largest units, such as ``1 h 2 min``."""
    left, parts = max(0, int(seconds)), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


# the template ---------------------------------------------------------------------------------------------------------


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resilience.server"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["duration"] = duration
    environment.globals["refresh_interval"] = REFRESH_INTERVAL_S
    return environment


_ENVIRONMENT = _environment()
_STYLE_HASH = base64.b64encode(
    hashlib.sha256(_ENVIRONMENT.get_template("status.css").render().encode()).digest()
).decode()
_POLICY = "; ".join((
    "default-src 'none'",
    f"style-src 'sha256-{_STYLE_HASH}'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
