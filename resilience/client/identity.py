"""Who a participant is, kept in a file: a restarted process comes back as the same one. The only room that writes one.

The token in it is the whole proof of identity, so the file is its owner's alone (mode 0600). It is replaced in one
step: a reader sees the old identity or the new one, never half. Two processes may use one file: the later takes over,
as two tabs of one person do.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from resilience.errors import UsageError
from resilience.protocol.messages import Credentials


class StoredIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    event: str
    participant: str
    token: str
    generation: int


class IdentityFile:
    """The identity for one event in the file at ``path``."""

    def __init__(self, path: Path, event: str) -> None:
        self.path, self._event = path, event

    def read(self) -> Credentials | None:
        """The kept identity; ``None`` when there is no file yet.

        :class:`~resilience.errors.UsageError` when it is unusable: unreadable, not ours, or another event's.
        """
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=StoredIdentity)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeError) as error:
            raise UsageError(f"{self.path}: holds no identity; delete it to begin as somebody new") from error
        if kept.event != self._event:
            raise UsageError(f"{self.path}: holds an identity for event '{kept.event}', not for '{self._event}'")
        return Credentials(kept.participant, kept.token, kept.generation, 0)

    def check(self) -> None:
        """:class:`~resilience.errors.UsageError` unless the file could be written."""
        try:
            Path(self._write_temporary(b"")).unlink()
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written: {error.strerror}") from error

    def write(self, credentials: Credentials) -> None:
        """Keep these from now on; returns when they are on the disk. Raises ``OSError``."""
        kept = StoredIdentity(self._event, credentials.participant, credentials.token, credentials.generation)
        draft = self._write_temporary(msgspec.json.encode(kept) + b"\n")
        try:
            Path(draft).replace(self.path)
        except OSError:
            Path(draft).unlink()
            raise

    def _write_temporary(self, content: bytes) -> str:
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        return name
