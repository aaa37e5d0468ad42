"""Web origins by meaning: the form in which browsers send them, and which one is this server's own. Pure.

An origin is a scheme, a host and a port, and nothing else (RFC 6454). Two of them are equal if these three are, however
they are written: in any case, with the scheme's default port or without it, with a host in Unicode or in Punycode.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import idna
import msgspec

RULE = "must be origins such as https://quiz.example or capacitor://localhost"

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The schemes of web pages, and the port that each one leaves out."""

_PAGELESS_SCHEMES = {"ws": "http", "wss": "https", "ftp": "https"}
"""Schemes that no page has, and the scheme of the page that was meant."""

_MAX_CHARACTERS = 300
"""A longer text is no origin: a host name has 253 characters at most."""

_MAX_PORT = 65_535

_PARTS = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_NUMERIC_END = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")


class OriginError(ValueError):
    """A text is no origin; ``str()`` of it says why, and what would be right if that can be guessed."""


class Origin(msgspec.Struct, frozen=True):
    """One origin in the form of browsers; ``port`` is ``None`` where a scheme without a default leaves it out."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        """As a browser sends it."""
        is_default = self.port is None or self.port == DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{self.host}" + ("" if is_default else f":{self.port}")


def listed_origin(text: str) -> Origin:
    """The origin that a person wrote into a list. Raises :class:`OriginError` for one that no browser can send."""
    if len(text) > _MAX_CHARACTERS:
        raise OriginError(f"has more than {_MAX_CHARACTERS} characters")
    found = _PARTS.fullmatch(text)
    if found is None:
        raise OriginError("has no scheme" + (_guess(f"https://{text}") if "." in text else ""))
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    problem = _problem_of(scheme, authority, rest)
    if problem is not None:
        said, right = problem
        raise OriginError(said + _guess(right))
    return _origin(scheme, authority, _encoded)


def _problem_of(scheme: str, authority: str, rest: str) -> tuple[str, str] | None:
    """What people write into an origin that does not belong there, and the origin that they meant."""
    host = re.split(r"[?#\\]", authority.rpartition("@")[2])[0]
    right = f"{scheme}://{host}"
    if scheme in _PAGELESS_SCHEMES:
        return f"has a scheme that no page has ({scheme})", f"{_PAGELESS_SCHEMES[scheme]}://{host}"
    if "*" in authority:
        return "holds a wildcard: each origin is listed by itself", ""
    if "@" in authority:
        return "names a user", right
    if rest or host != authority:
        return "has more than a scheme, a host and a port", right
    return None


def _guess(right: str) -> str:
    """The end of an error: the origin that was meant, if ``right`` is one."""
    try:
        return f"; write {listed_origin(right)}"
    except OriginError:
        return ""


def sent_origin(text: str) -> Origin | None:
    """The origin of an ``Origin`` header; ``None`` for one that no page with a host of its own has."""
    found = _PARTS.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
    if found is None or found[3]:
        return None
    try:
        return _origin(found[1].lower(), found[2], str.lower)
    except OriginError:
        return None


def is_own_origin(origin: Origin, host_header: str) -> bool:
    """Whether a page of this origin was served by the host and port of a ``Host`` header.

    The scheme is not compared, since a proxy may have ended TLS; where the header names no port, the origin's scheme
    says which one is meant.
    """
    default = DEFAULT_PORTS.get(origin.scheme)
    if default is None or len(host_header) > _MAX_CHARACTERS:
        return False
    try:
        return _origin(origin.scheme, host_header, str.lower) == origin
    except OriginError:
        return False


def _origin(scheme: str, authority: str, encode: Callable[[str], str]) -> Origin:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise OriginError("has a port that is no number" if authority.count(":") == 1 else "has no valid host")
    host, digits = found[1], found[2]
    port = int(digits) if digits else DEFAULT_PORTS.get(scheme)
    if port is not None and port > _MAX_PORT:
        raise OriginError(f"has a port above {_MAX_PORT}")
    return Origin(scheme, _host(host, encode), port)


def _host(text: str, encode: Callable[[str], str]) -> str:
    if text.startswith("["):
        return f"[{_ip(ipaddress.IPv6Address, text[1:-1])}]"
    name = encode(text)
    if _NUMERIC_END.fullmatch(name):
        return _ip(ipaddress.IPv4Address, name)
    if not _NAME.fullmatch(name):
        raise OriginError("has no valid host" if text else "has no host")
    return name


def _ip(kind: Callable[[str], object], text: str) -> str:
    try:
        address = str(kind(text))
    except ValueError:
        raise OriginError(f"has no valid address ({text})") from None
    if "%" in address:
        raise OriginError(f"has an address with a zone ({text})")
    return address


def _encoded(host: str) -> str:
    """A host as browsers send it: lower case, Punycode (UTS 46)."""
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise OriginError(f"has no valid host ({error})") from None
