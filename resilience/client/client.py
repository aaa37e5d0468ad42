"""A participant over a real socket, and how to create one."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path

from resilience.client.driver import ClientDriver, checked_url
from resilience.client.identity import IdentityFile
from resilience.client.sendable import require_sendable
from resilience.config import ClientConfig
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.messages import Answer, ClientMessage, Join, Message, TokenStored
from resilience.random_streams import random_for
from resilience.runtime import RecordSink, RunClock, ignore_record

_log = logging.getLogger("resilience.client")


class ReconnectingClient(ClientDriver[ParticipantClient]):
    """Takes part in a quiz and reconnects after every loss. ``kept`` stores the identity beyond the process."""

    __slots__ = ("_kept",)

    def __init__(  # noqa: PLR0913 - all that a client depends on
        self,
        machine: ParticipantClient,
        url: str,
        *,
        clock: RunClock | None = None,
        log: RecordSink = ignore_record,
        deliver: Callable[[Message], None] | None = None,
        watch_sleep: bool = False,
        kept: IdentityFile | None = None,
    ) -> None:
        super().__init__(machine, url, clock=clock, log=log, deliver=deliver, watch_sleep=watch_sleep)
        self._kept = kept

    def answer(self, question: str, choice: int) -> None:
        """Answer a question (choices count from 0), now or as soon as the connection is back.

        Raises :class:`~resilience.errors.UsageError` for a question or a choice that no message can hold.
        """
        require_sendable(Answer(question, choice, "key"))
        self.machine.answer(question, choice, self._clock.now())
        self._pump()

    def _send(self, message: ClientMessage) -> None:
        if not isinstance(message, TokenStored) or self._keep():
            super()._send(message)

    def _keep(self) -> bool:
        """Store the new token before the server deletes the old one; returns whether that succeeded."""
        if self._kept is None or self.machine.credentials is None:
            return True
        try:
            self._kept.write(self.machine.credentials)
        except OSError as error:
            _log.warning(
                "%s: cannot be written, so the identity in it is out of date: %s", self._kept.path, error.strerror
            )
            return False
        return True


def connect(  # noqa: PLR0913 - all that a participant may choose
    url: str,
    *,
    name: str,
    event: str = "quiz",
    config: ClientConfig | None = None,
    identity_file: Path | None = None,
    deliver: Callable[[Message], None] | None = None,
    log: RecordSink = ignore_record,
) -> ReconnectingClient:
    """A participant called ``name`` of ``event`` on the server at ``url``; call it where an event loop runs.

    ``identity_file`` stores the identity: a later process with the same file resumes as the same participant with its
    score, and replaces the connection of an earlier process. ``deliver`` receives each message, ``log`` each record of
    the connection's state. Raises :class:`~resilience.errors.UsageError` for a URL, a name or a file that cannot be
    used.
    """
    checked_url(url)
    identity = Identity(event, name, secrets.token_hex(8))
    require_sendable(Join(event=event, name=name, instance=identity.instance))
    draw = random_for(secrets.randbits(63), identity.instance)
    machine = ParticipantClient(identity, (config or ClientConfig()).rules, draw)
    kept = None if identity_file is None else IdentityFile(identity_file, event)
    if kept is not None:
        machine.credentials = kept.read()
        kept.check()
    return ReconnectingClient(machine, url, log=log, deliver=deliver, watch_sleep=True, kept=kept)
