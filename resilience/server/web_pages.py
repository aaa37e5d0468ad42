"""The pages for people: participant, host, their scripts and styles, and a QR code of the address to join at. Pure.

A document names one script and one style. The script is the bundle of its modules in ``resilience/web``; it, the style
and the single modules, for pages of others, are served under a path that holds the digest of them all, so that a
browser may keep them for as long as it likes and never mixes two versions. Nothing is loaded from elsewhere, and the
content-security policy admits nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import io
import posixpath
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import parse_qs, quote

import jinja2
import msgspec
import segno

from resilience.protocol.messages import label_problem
from resilience.server.bundle import bundle
from resilience.server.page import HTML, TEXT, Page, PageRequest, Resource, page, resource, resource_page

DOCUMENTS = {
    "/join": ("Join a quiz", "participant.js"),
    "/play": ("Quiz", "participant.js"),
    "/host": ("Host a quiz", "host.js"),
}
"""The documents by path: title, and the module in ``pages/`` that runs them."""

QR_CODE = "/join.svg"
LONGEST_ADDRESS = 1000
"""The most characters of an address in a QR code: an event's id takes 768 at most, and phones read no finer code."""

FILES = "/web/"

TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
"""The files that are served, by the end of their names; types and licences ship, but are not."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The content-security policy of the documents; ``connect-src 'self'`` admits the server's own WebSocket."""

KEPT = "public, max-age=31536000, immutable"
"""The cache rule of files: another version of one has another path."""

ASKED_FOR = "no-cache"
"""That of documents; unlike ``no-store`` it lets a browser keep a page that was left, and come back to it at once."""

BUNDLES = "bundles/"
"""Where the bundles are, below the path of the files."""


class WebFiles(msgspec.Struct, frozen=True):
    """The files of the pages by their paths below ``resilience/web``, the bundles, and a digest of them all."""

    digest: str
    contents: dict[str, bytes]

    def path(self, name: str) -> str:
        """Where a browser finds the file of this name."""
        return f"{FILES}{self.digest}/{name}"


@functools.cache
def web_files() -> WebFiles:
    """Every file that is served, read once."""
    contents = dict(sorted(_read(files("resilience") / "web", "")))
    modules = {name: content.decode() for name, content in contents.items() if name.endswith(".js")}
    for name in {script for _, script in DOCUMENTS.values()}:
        contents[f"{BUNDLES}{name}"] = bundle(f"pages/{name}", modules).encode()
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return WebFiles(digest.hexdigest()[:16], contents)


def prepare() -> None:
    """Make every document and every file with its compressed form, so that no visitor waits for one to be made.

    Raises :class:`~resilience.server.bundle.BundleError` if the modules cannot be bundled.
    """
    for name in web_files().contents:
        _web_file(name)
    for route in DOCUMENTS:
        _document(route)


def _read(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _read(entry, f"{name}/")
        elif posixpath.splitext(name)[1] in TYPES:
            found.append((name, entry.read_bytes()))
    return found


def is_web_file(path: str) -> bool:
    """Whether this is a document or a file: made once, and as cheap to answer as a handshake."""
    route = path.partition("?")[0]
    return route in DOCUMENTS or route.startswith(FILES)


def web_page(request: PageRequest) -> Page | None:
    """The response for a path of these pages, ``None`` for any other."""
    route, _, query = request.path.partition("?")
    if route in DOCUMENTS:
        return resource_page(_document(route), request, policy=POLICY, cache=ASKED_FOR)
    if route == QR_CODE:
        return _qr_code(query, request)
    return _file(route.removeprefix(FILES), request) if route.startswith(FILES) else None


def join_address(origin: str, event: str) -> str:
    """Where people join an event."""
    return f"{origin}/join?event={quote(event, safe='')}"


def _file(path: str, request: PageRequest) -> Page:
    digest, _, name = path.partition("/")
    found = web_files()
    if digest != found.digest or name not in found.contents:
        return page(HTTPStatus.NOT_FOUND, TEXT, b"no such file; reload the page that asked for it\n", policy=POLICY)
    return resource_page(_web_file(name), request, policy=POLICY, cache=KEPT)


@functools.cache
def _web_file(name: str) -> Resource:
    return resource(TYPES[posixpath.splitext(name)[1]], web_files().contents[name])


@functools.cache
def _document(route: str) -> Resource:
    title, script = DOCUMENTS[route]
    paths = {"icon": "icon.svg", "style": "style.css", "script": f"{BUNDLES}{script}"}
    template = _ENVIRONMENT.get_template("app.html.j2")
    html = template.render(title=title, **{part: web_files().path(name) for part, name in paths.items()})
    return resource(HTML, html.encode())


def _qr_code(query: str, request: PageRequest) -> Page:
    event = (parse_qs(query).get("event") or [""])[-1]
    problem = label_problem(event)
    if problem is not None:
        words = f"event: {problem[:1].lower()}{problem[1:]}\n".encode()
        return page(HTTPStatus.BAD_REQUEST, TEXT, words, policy=POLICY)
    address = join_address(request.origin, event)
    if len(address) > LONGEST_ADDRESS:
        return page(HTTPStatus.BAD_REQUEST, TEXT, b"Host: too long for a QR code\n", policy=POLICY)
    return resource_page(_picture(address), request, policy=POLICY, cache=ASKED_FOR)


@functools.lru_cache(maxsize=64)
def _picture(address: str) -> Resource:
    picture = io.BytesIO()
    code = segno.make(address, error="m", micro=False)
    code.save(picture, kind="svg", scale=8, border=4, dark="#000000", light="#ffffff", xmldecl=False)
    return resource(TYPES[".svg"], picture.getvalue())


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("resilience.server"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
