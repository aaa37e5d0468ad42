"""Whether an open SQLite database is still the one that its path names.

Knows paths and inodes, nothing of SQL. A file that was deleted or replaced still takes commits through the open
connection, and everything written to it is lost with the process. SQLite compares inodes in the same way before it
writes a rollback journal (``SQLITE_READONLY_DBMOVED``), but not with a write-ahead log.
"""

from __future__ import annotations

from pathlib import Path

_Inode = tuple[int, int]


class DatabaseFile:
    """The database file at ``path`` and its write-ahead log, as they are now; create it once the file is open."""

    def __init__(self, path: Path) -> None:
        self._paths = (path, path.with_name(f"{path.name}-wal"))
        self._inodes: dict[Path, _Inode] = {}
        self.fault()

    def fault(self) -> str | None:
        """What is wrong with the files, in words for the operator; ``None`` while they are those that were opened."""
        for path in self._paths:
            found, opened = _inode(path), self._inodes.get(path)
            if opened is None:
                if found is not None:
                    self._inodes[path] = found
            elif found != opened:
                happened = "deleted" if found is None else "replaced"
                return f"{path} was {happened} while it was open; put it back, or restart the server"
        return None


def _inode(path: Path) -> _Inode | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
