"""Large parts of a message, deflated where it pays: once per change, not once per receiver. Pure.

The WebSocket extension would keep some 40 KB per connection for its window and compress each message for each receiver.
The large part here is the roster, which is the same for all receivers.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import msgspec

from resilience.errors import RemoteProtocolError
from resilience.protocol.messages import Roster, Snapshot

MIN_COMPRESS_BYTES = 2048
"""Smaller parts fit into a few packets with or without compression."""

MAX_COMPRESSED_SHARE = 0.7
LEVEL = 6
MAX_ROSTER_BYTES = 4_194_304
"""The largest roster that a server sends; a larger one is an attack or a defect."""

_ROSTERS = msgspec.json.Decoder(Roster)
_STRINGS = msgspec.json.Decoder(str)


def compress_if_worth(part: bytes) -> msgspec.Raw | None:
    """A part's JSON as a JSON string: base64 of its zlib form (RFC 1950). ``None`` if that does not pay."""
    if len(part) < MIN_COMPRESS_BYTES:
        return None
    text = b'"' + base64.b64encode(zlib.compress(part, LEVEL)) + b'"'
    return msgspec.Raw(text) if len(text) <= MAX_COMPRESSED_SHARE * len(part) else None


def roster_of(snapshot: Snapshot) -> Roster:
    """The roster in a snapshot, deflated or not; raises :class:`~resilience.errors.RemoteProtocolError` if invalid."""
    part = bytes(snapshot.roster)
    try:
        return _ROSTERS.decode(_inflated(_STRINGS.decode(part)) if part.startswith(b'"') else part)
    except (msgspec.DecodeError, binascii.Error, ValueError, zlib.error) as error:
        raise RemoteProtocolError("snapshot.roster", f"must be a roster, or base64 of one deflated: {error}") from error


def _inflated(text: str) -> bytes:
    inflater = zlib.decompressobj()
    whole = inflater.decompress(base64.b64decode(text, validate=True), MAX_ROSTER_BYTES)
    if not inflater.eof:
        raise ValueError(f"cut short, or larger than {MAX_ROSTER_BYTES} bytes")
    return whole
