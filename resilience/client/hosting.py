"""A host over a real socket, and how to make one."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from resilience.client.client import LONGEST_WORD
from resilience.client.driver import LinkDriver, checked_url
from resilience.config import ClientConfig
from resilience.draws import random_for
from resilience.errors import require
from resilience.protocol.host import HostMachine
from resilience.protocol.link import ClientRules
from resilience.protocol.messages import HostAction, Message
from resilience.quiz.plan import QuizPlan
from resilience.runtime import RecordSink, ignore_record
from resilience.units import Seconds

LONGEST_KEY = 256
FOR_EVER: Seconds = 1e9


def tireless(rules: ClientRules) -> ClientRules:
    """These rules without an end and without the later, slower ladder: an event has few hosts, and waits for them."""
    backoff = msgspec.structs.replace(rules.backoff, attempts=None, budget=FOR_EVER, window_until=FOR_EVER)
    return msgspec.structs.replace(rules, backoff=backoff)


class HostingClient(LinkDriver[HostMachine]):
    """Runs a quiz, whatever the network does. Leaving detaches the host; the quiz stays where it is, or moves on."""

    def order(self, action: HostAction) -> bool:
        """Have the quiz move, now or when the connection is back; returns whether the order was taken."""
        taken = self.machine.order(action)
        self._pump()
        return taken

    def create(self) -> bool:
        """Open the event from the plan once more; see :meth:`HostMachine.create`."""
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
) -> HostingClient:
    """A host of ``event`` on the server at ``url``, who creates it from ``plan`` where it does not exist yet.

    It never gives up. :class:`~resilience.errors.UsageError` for a URL, an event or a key that cannot be used.
    """
    checked_url(url)
    require(1 <= len(event) <= LONGEST_WORD, "event", event, f"must have 1 to {LONGEST_WORD} characters")
    require(1 <= len(key) <= LONGEST_KEY, "host key", "...", f"must have 1 to {LONGEST_KEY} characters")
    draw = random_for(secrets.randbits(63), f"host of {event}")
    machine = HostMachine(event, key, plan, tireless((config or ClientConfig()).rules), draw)
    return HostingClient(machine, url, log=log, deliver=deliver, watch_sleep=True)
