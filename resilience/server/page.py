"""HTTP requests for pages, and complete responses with the headers that every page of this server has. Pure values."""

from __future__ import annotations

import gzip
import hashlib
import re
from http import HTTPStatus

import msgspec

HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"

NEVER_STORED = "no-store"
"""The cache rule of what changes with every request."""

_REFUSED = re.compile(r"q=0(?:\.0*)?")


class PageRequest(msgspec.Struct, frozen=True):
    """What a response may depend on. ``path`` includes the query; a header that was not sent is empty.

    ``origin`` is the server's own as the browser sees it, such as ``https://quiz.example``.
    """

    path: str
    method: str = "GET"
    origin: str = ""
    accept: str = ""
    accept_encoding: str = ""
    if_none_match: str = ""


class Page(msgspec.Struct, frozen=True):
    """A complete HTTP response."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Resource(msgspec.Struct, frozen=True):
    """A body that is the same for every request: its type, its gzip form if that is shorter, and its entity tag."""

    content_type: str
    body: bytes
    gzipped: bytes | None
    etag: str


def resource(content_type: str, body: bytes) -> Resource:
    """The resource with this body. The tag is a weak one: it is the same for both forms."""
    gzipped = gzip.compress(body, mtime=0)
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
    return Resource(content_type, body, gzipped if len(gzipped) < len(body) else None, etag)


def page(status: HTTPStatus, content_type: str, body: bytes, *, policy: str, cache: str = NEVER_STORED) -> Page:
    """The response with this body; ``policy`` is its content-security policy, ``cache`` its Cache-Control."""
    length = (("Content-Type", content_type), ("Content-Length", str(len(body))))
    return Page(status, (*length, *_common(policy, cache)), body)


def resource_page(found: Resource, request: PageRequest, *, policy: str, cache: str) -> Page:
    """The response with this resource, or 304 without a body where the browser has it already."""
    headers: tuple[tuple[str, str], ...] = (("ETag", found.etag), ("Vary", "Accept-Encoding"))
    if _has(request.if_none_match, found.etag):
        return Page(HTTPStatus.NOT_MODIFIED, (*_common(policy, cache), *headers), b"")
    if found.gzipped is None or not accepts_gzip(request.accept_encoding):
        whole = page(HTTPStatus.OK, found.content_type, found.body, policy=policy, cache=cache)
    else:
        whole = page(HTTPStatus.OK, found.content_type, found.gzipped, policy=policy, cache=cache)
        headers = (*headers, ("Content-Encoding", "gzip"))
    return msgspec.structs.replace(whole, headers=(*whole.headers, *headers))


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether this header admits gzip by name (RFC 9110, 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            return _REFUSED.fullmatch(weight.replace(" ", "")) is None
    return False


def _has(if_none_match: str, etag: str) -> bool:
    """Whether the browser holds this tag, by the weak comparison (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def _common(policy: str, cache: str) -> tuple[tuple[str, str], ...]:
    return (
        ("Cache-Control", cache),
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    )
