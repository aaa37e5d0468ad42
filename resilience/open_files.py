"""This process's limit on open files: read as a number, raised as far as allowed. Nothing else is known of its use.

The system may report "no limit", which is no number of files: macOS does so for the hard limit, and still refuses to
raise the soft one beyond a number of its own.
"""

from __future__ import annotations

import contextlib
import resource

UNLIMITED_FILES = 65_536
"""How many files a limit without a number counts for."""

_TRIED = (UNLIMITED_FILES, 24_576, 10_240)
"""What is tried in turn where the hard limit is no number; the last is the most that some macOS systems allow."""


def open_files_limit() -> int:
    """The number of files that this process may have open now."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def open_files_hard_limit() -> int | None:
    """The number up to which the limit can be raised; ``None`` if the system names none."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def raise_open_files(needed: int = 0) -> None:
    """Raise this process's limit to the hard one; where that is no number, to ``needed`` or else to a usual one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    for wanted in (hard,) if hard != resource.RLIM_INFINITY else sorted({needed, *_TRIED}, reverse=True):
        if wanted <= soft:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def _number(limit: int) -> int:
    return UNLIMITED_FILES if limit == resource.RLIM_INFINITY else limit
