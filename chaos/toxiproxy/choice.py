"""The Toxiproxy that a user names: the path of a binary, the URL of a server, or none. Knows no run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.errors import ToxiproxyError

from .external import ExternalToxiproxy, ask, is_url, parse_url
from .provision import VARIABLE, Binary, find_toxiproxy

if TYPE_CHECKING:
    from collections.abc import Callable


def choose_toxiproxy(text: str | None, say: Callable[[str], None]) -> Binary | ExternalToxiproxy:
    """The server or binary of ``text``, else of the environment's variable, else found or built.

    Raises :class:`~resilience.errors.UsageError` for a URL that is none, and
    :class:`~resilience.errors.ToxiproxyError` when there is no usable one. Not from a running event loop.
    """
    named = text or os.environ.get(VARIABLE) or None
    if named is not None and is_url(named):
        return asyncio.run(ask(parse_url(named), say))
    if named is not None and not Path(named).exists():
        raise ToxiproxyError(
            f"{'--toxiproxy' if text else VARIABLE}: {named}: no such file; name the toxiproxy-server's program or the "
            "URL of its control API, or none to have it found or built"
        )
    return find_toxiproxy(None if named is None else Path(named), say=say)
