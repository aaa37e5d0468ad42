"""Tells whether a run directory still takes what the run records: it was not removed, and its disk is not full.

What fails in a run without a directory is the laboratory's failure, whichever process it shows in first.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

MIN_FREE_BYTES = 128 * 1024
"""With less than this, the next records of several processes do not fit."""

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a write that found no room."""


class DirectoryWatch:
    """Watches the directory that is at ``path`` now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)

    def problem(self) -> str | None:
        """What is wrong with it, in one line; ``None`` when it can be written as far as can be seen."""
        try:
            if _identity(self.path) != self._identity:
                return f"{self.path}: the run directory was replaced during the run"
            free = _free_bytes(self.path)
        except FileNotFoundError:
            return f"{self.path}: the run directory was removed during the run"
        except OSError as error:
            return f"{self.path}: the run directory cannot be read: {error.strerror}"
        return f"{self.path}: no space left on its disk" if free < MIN_FREE_BYTES else None


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _free_bytes(path: Path) -> int:
    """What this user may still write; a file system that does not say counts as empty."""
    disk = os.statvfs(path)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return blocks * disk.f_frsize if disk.f_blocks else MIN_FREE_BYTES
