"""A complete HTTP response, with the headers that every page of this server has. Pure values."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"

NEVER_STORED = "no-store"
"""The cache rule of what changes with every request."""


class Page(msgspec.Struct, frozen=True):
    """A complete HTTP response."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def page(status: HTTPStatus, content_type: str, body: bytes, *, policy: str, cache: str = NEVER_STORED) -> Page:
    """The response with this body; ``policy`` is its content-security policy, ``cache`` its Cache-Control."""
    headers = (
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", cache),
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    )
    return Page(status, headers, body)
