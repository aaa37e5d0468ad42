"""Which versions of the Toxiproxy server a run may use. Pure."""

from __future__ import annotations

import re

from resilience.errors import ToxiproxyError

VERSION = "2.12.0"
"""The Toxiproxy version whose quirks this project knows; others may behave otherwise."""

OLDEST = (2, 6, 0)
"""The first version whose control API knows PATCH (Toxiproxy's CHANGELOG), with which toxics are changed."""

_NUMBERS = re.compile(r"\b(\d+)\.(\d+)\.(\d+)\b")


def require_version(report: str, where: str) -> None:
    """Raise ToxiproxyError when a server's own report (``-version``) names a version that is too old."""
    numbers = _NUMBERS.search(report)
    if numbers is not None and tuple(map(int, numbers.groups())) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ToxiproxyError(
            f"{where} is Toxiproxy {numbers[0]}, too old for a run: use {VERSION}, at least {oldest}, "
            "or name none to have one built"
        )


def version_note(report: str, where: str) -> str | None:
    """What a user should know of a server that does not report the version that is known; ``None``: nothing."""
    if VERSION in report:
        return None
    return f"note: {where} reports {report!r}; faults were measured with Toxiproxy {VERSION}"
