"""A host over a real socket, and how to create one."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from resilience.client.driver import ClientDriver, checked_url
from resilience.client.sendable import require_sendable
from resilience.config import ClientConfig
from resilience.protocol.client.connection import ClientRules
from resilience.protocol.client.host import HostMachine
from resilience.protocol.messages import CreateEvent, Host, HostAction, Message
from resilience.quiz.plan import QuizPlan
from resilience.random_streams import random_for
from resilience.runtime import RecordSink, ignore_record
from resilience.units import Seconds

NO_LIMIT_S: Seconds = 1e9


def retry_forever(rules: ClientRules) -> ClientRules:
    """These rules without a limit and without the later, slower ladder: an event has few hosts and needs them."""
    backoff = msgspec.structs.replace(rules.backoff, attempts=None, budget=NO_LIMIT_S, window_until=NO_LIMIT_S)
    return msgspec.structs.replace(rules, backoff=backoff)


class HostClient(ClientDriver[HostMachine]):
    """Hosts a quiz and reconnects after every loss. Leaving detaches the host; the quiz stays on the server."""

    def order(self, action: HostAction) -> bool:
        """Send a command, now or when the connection is back; returns whether it was accepted."""
        taken = self.machine.order(action)
        self._pump()
        return taken

    def create(self) -> bool:
        """Create the event from the plan again; see :meth:`HostMachine.create`."""
        asked = self.machine.create()
        self._pump()
        return asked


def host(  # noqa: PLR0913 - all that a host may choose
    url: str,
    *,
    key: str,
    plan: QuizPlan | None,
    event: str = "quiz",
    config: ClientConfig | None = None,
    deliver: Callable[[Message], None] | None = None,
    log: RecordSink = ignore_record,
) -> HostClient:
    """A host of ``event`` on the server at ``url``, which creates the event from ``plan`` if it does not exist yet.

    The client never gives up. Raises :class:`~resilience.errors.UsageError` for a URL, an event, a key or a plan that
    cannot be used.
    """
    checked_url(url)
    require_sendable(Host(event=event, key=key), hidden={"key": "host key"})
    if plan is not None:
        require_sendable(CreateEvent(plan))
    draw = random_for(secrets.randbits(63), f"host of {event}")
    machine = HostMachine(event, key, plan, retry_forever((config or ClientConfig()).rules), draw)
    return HostClient(machine, url, log=log, deliver=deliver, watch_sleep=True)
