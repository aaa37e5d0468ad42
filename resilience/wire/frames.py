"""The usual frame, made and read without an object for it: a whole text or binary message. Pure, but for the masks.

Everything else (control frames, fragments, parts of a frame, messages of 64 KiB and more, frames that break RFC 6455)
is not read here: it is for the protocol of ``websockets``.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library was built without its extension
    from websockets.utils import apply_mask

_TEXT, _BINARY = 0x81, 0x82
"""The first byte of a whole message: FIN set, no reserved bit, its opcode (RFC 6455 section 5.2)."""

_MASKED = 0x80
_MAX_SHORT, _MAX_MEDIUM = 125, 65_535
_MEDIUM_MARK, _LONG_MARK = 126, 127
_MASK_BYTES = 4


class WholeMessage(NamedTuple):
    """A message that came in one frame, and where the bytes behind it begin."""

    data: bytes
    is_text: bool
    end: int


def text_frame(text: bytes) -> bytes:
    """A frame of a server, unmasked, with a whole text message of UTF-8."""
    return _head(_TEXT, len(text), 0) + text


def masked_text_frame(text: bytes) -> bytes:
    """A frame of a client with a whole text message of UTF-8; its mask is new and unpredictable (section 5.3)."""
    mask = secrets.token_bytes(_MASK_BYTES)
    return b"".join((_head(_TEXT, len(text), _MASKED), mask, apply_mask(text, mask)))


def whole_message(data: bytes, start: int, max_size: int, *, is_masked: bool) -> WholeMessage | None:
    """Read the message whose frame begins at ``start``; ``None`` for anything else, and for more than ``max_size``.

    ``is_masked``: the frame comes from a client, which masks every frame.
    """
    available = len(data) - start
    if available < 2:  # noqa: PLR2004 - the shortest head
        return None
    first, second = data[start], data[start + 1]
    size, at = second & ~_MASKED, start + 2
    if first not in (_TEXT, _BINARY) or (second >= _MASKED) is not is_masked or size == _LONG_MARK:
        return None
    if size == _MEDIUM_MARK:
        if available < 4:  # noqa: PLR2004 - the head with a length of two bytes
            return None
        size, at = data[at] << 8 | data[at + 1], at + 2
    body = at + _MASK_BYTES if is_masked else at
    end = body + size
    if size > max_size or end > len(data):
        return None
    message = data[body:end]
    return WholeMessage(apply_mask(message, data[at:body]) if is_masked else message, first == _TEXT, end)


def _head(first: int, size: int, masked: int) -> bytes:
    if size <= _MAX_SHORT:
        return bytes((first, masked | size))
    if size <= _MAX_MEDIUM:
        return bytes((first, masked | _MEDIUM_MARK, size >> 8, size & 0xFF))
    return bytes((first, masked | _LONG_MARK)) + size.to_bytes(8, "big")
