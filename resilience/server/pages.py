"""What the server says to a plain GET: status page, health, readiness, metrics. Pure functions of a view and a path.

Shows numbers and names of events, no participant and no secret. A page needs no script, no second request and no
network; it asks to be loaded again every few seconds unless told to hold still. Whether the process lives
(``/healthz``) is kept apart from whether it wants more guests (``/readyz``): restarting a server that is merely full,
or whose database is away, helps nobody.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from html import escape
from http import HTTPStatus

import msgspec

from resilience.units import Seconds

REFRESH_INTERVAL_S: Seconds = 5
MAX_HEALTHY_LAG_S: Seconds = 0.5
"""A loop this late takes no more guests."""

HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"

Exposition = Callable[[str], tuple[str, bytes]]
"""Content type and body of the metrics, for an ``Accept`` header."""


class EventView(msgspec.Struct, frozen=True):
    """One event as the status page shows it; ``question`` counts from 1, 0 before the first."""

    event: str
    title: str
    phase: str
    question: int
    questions: int
    connected: int
    away: int
    gone: int = 0


class ServerView(msgspec.Struct, frozen=True):
    """How the server stands; durations in seconds.

    ``address`` is where to join (``ws://host/ws``). ``max_connections`` 0 means no limit. ``commit_failed`` tells that
    the last commit was not taken. ``loop_lag`` is the worst of the last seconds.
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


class Page(msgspec.Struct, frozen=True):
    """An HTTP response, whole."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def respond(path: str, view: Callable[[], ServerView], exposition: Exposition, accept: str = "") -> Page:
    """The answer to ``GET path``; ``view`` is asked only where it is shown, ``accept`` is the header of that name."""
    route, _, query = path.partition("?")
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
            return _page(HTTPStatus.OK, *exposition(accept))
        case _:
            known = "nothing here; try / for people, /healthz, /readyz and /metrics for machines, /ws for the quiz\n"
            return _page(HTTPStatus.NOT_FOUND, TEXT, known.encode())


def not_ready(view: ServerView) -> tuple[str, ...]:
    """Why no more guests should be sent here; empty when they may come."""
    full = 0 < view.max_connections <= view.connections
    reasons = {
        "draining: guests are being sent home": view.draining,
        "database: the last commit was not taken": view.commit_failed,
        f"overloaded: the loop ran {view.loop_lag:.2f} s late, at most {MAX_HEALTHY_LAG_S:g} s": view.loop_lag
        > MAX_HEALTHY_LAG_S,
        f"full: {view.connections} of {view.max_connections} connections": full,
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


def status_page(view: ServerView, *, refresh: bool = True) -> str:
    """The page for people."""
    reload = f'<meta http-equiv="refresh" content="{REFRESH_INTERVAL_S:g}">' if refresh else ""
    other = '<a href="/?still">Hold this page still</a>' if refresh else '<a href="/">Keep this page fresh</a>'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{reload}
<title>Quiz server: {escape(_state(view))}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Quiz server</h1>
{_standing(view)}
{_facts(view)}
{_events(view.events)}
<p><small>{other}. For machines: <a href="/healthz">healthz</a>, <a href="/readyz">readyz</a>,
<a href="/metrics">metrics</a>.</small></p>
</main>
</body>
</html>
"""


# parts ----------------------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: bold; padding: 0.5rem 0; }
th, td { text-align: left; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #8888; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.wrap { overflow-x: auto; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = "; ".join((
    "default-src 'none'",
    f"style-src 'sha256-{_STYLE_HASH}'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip

_SECURITY = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Connection", "close"),
)


def _page(status: HTTPStatus, content_type: str, body: bytes) -> Page:
    return Page(status, (("Content-Type", content_type), ("Content-Length", str(len(body))), *_SECURITY), body)


def _state(view: ServerView) -> str:
    return "not ready" if not_ready(view) else "ready"


def _standing(view: ServerView) -> str:
    reasons = not_ready(view)
    if not reasons:
        return "<p><strong>Ready</strong> for guests.</p>"
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return f"<p><strong>Not ready</strong> for more guests:</p><ul>{items}</ul>"


def _facts(view: ServerView) -> str:
    limit = f" of at most {view.max_connections}" if view.max_connections else ""
    return f"""<p>Join at <code>{escape(view.address)}</code>.</p>
<p>Version {escape(view.version)}, up for {duration(view.uptime)}, {view.connections} open connections{limit}.</p>"""


def _events(events: tuple[EventView, ...]) -> str:
    if not events:
        return "<p>No event is open.</p>"
    numbers = "".join(f'<th scope="col" class="n">{word}</th>' for word in ("Connected", "Away", "Gone"))
    head = '<th scope="col">Event</th><th scope="col">Phase</th><th scope="col">Question</th>' + numbers
    rows = "\n".join(_row(event) for event in events)
    return f"""<div class="wrap" role="region" aria-label="Events" tabindex="0"><table>
<caption>Events</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""


def _row(event: EventView) -> str:
    name = escape(event.event) if event.title in ("", event.event) else f"{escape(event.title)} ({escape(event.event)})"
    question = f"{event.question} of {event.questions}" if event.question else f"none yet of {event.questions}"
    numbers = "".join(f'<td class="n">{number}</td>' for number in (event.connected, event.away, event.gone))
    return f'<tr><th scope="row">{name}</th><td>{escape(event.phase)}</td><td>{question}</td>{numbers}</tr>'


def duration(seconds: Seconds) -> str:
    """A span for people: its two largest units."""
    left, parts = max(0, int(seconds)), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
