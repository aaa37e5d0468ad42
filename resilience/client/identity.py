"""A participant's identity in a file, so that a restarted process resumes its session. The only module that writes it.

The token in it is the whole proof of identity, so only the owner may read the file (mode 0600). It is replaced in one
step: a reader sees the old identity or the new one, never half. If two processes use one file, the later one replaces
the earlier one's connection, as with two tabs of one person.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from resilience.errors import UsageError
from resilience.protocol.messages import Count, Credentials, Secret
from resilience.text_files import read_text


class StoredIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    event: str
    participant: str
    token: Secret
    generation: Count


class IdentityFile:
    """The identity for one event in the file at ``path``."""

    def __init__(self, path: Path, event: str) -> None:
        self.path, self._event = path, event

    def read(self) -> Credentials | None:
        """The stored identity; ``None`` if there is no file yet.

        Raises :class:`~resilience.errors.UsageError` if the file is unreadable, is not an identity, or is another
        event's.
        """
        try:
            kept = msgspec.json.decode(read_text(self.path), type=StoredIdentity)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeError) as error:
            raise UsageError(f"{self.path}: holds no identity; delete it to join as a new participant") from error
        if kept.event != self._event:
            raise UsageError(f"{self.path}: holds an identity for event '{kept.event}', not for '{self._event}'")
        return Credentials(kept.participant, kept.token, kept.generation, 0)

    def check(self) -> None:
        """Raises :class:`~resilience.errors.UsageError` unless the file can be written."""
        try:
            Path(self._write_temporary(b"")).unlink()
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written: {error.strerror}") from error

    def write(self, credentials: Credentials) -> None:
        """Store these credentials; returns when they are on the disk. Raises ``OSError``."""
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
