"""Clients beyond the participants: second tabs with a copy of a session, and a program that replays an old token. Pure.

Both are ordered by faults while a run is under way. A second tab plays as its participant does; a replay says one thing
and leaves. What comes of either shows in the log and in what clients were shown.
"""

from __future__ import annotations

import msgspec

from resilience.experiment.spec import Experiment
from resilience.lab.observer import ObservingClient
from resilience.lab.participants import EVENT, ParticipantSpec, person_of, tab_name
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.connection import ClientRules, ReconnectingConnection
from resilience.protocol.client.participant import Identity
from resilience.protocol.messages import Joined, Resume, ResumeRejected, ServerMessage, StateRestored
from resilience.protocol.states import ClientState
from resilience.random_streams import random_for
from resilience.units import Instant, Seconds

ACCEPTED, UNANSWERED = "accepted", "unanswered"
"""What may come of a replay besides the server's reason for a refusal."""


class OrderCounts(msgspec.Struct, frozen=True):
    """How far the orders of faults have come for the clients of one link, since the run's start.

    ``tabs`` were opened, of which so many ``met`` a first one that had a session when they presented it. ``replays``
    were begun, of which so many were ``answered``.
    """

    tabs: int = 0
    met: int = 0
    replays: int = 0
    answered: int = 0


class SecondTab(ObservingClient):
    """A client with a copy of another one's session. ``met_first``: whether that one had it when it was presented."""

    def __init__(self, identity: Identity, first: ObservingClient, experiment: Experiment, seed: int) -> None:
        draw = random_for(seed, identity.instance)
        super().__init__(identity, experiment.client.rules, experiment.quiz.player, draw)
        self.credentials = first.credentials
        self.met_first = False
        self._first = first
        if first.credentials is not None:
            self.tokens.hold(first.credentials.token)

    def _send_first_message(self, now: Instant) -> None:
        self.met_first |= self._first.state is ClientState.OPEN
        super()._send_first_message(now)


def make_second_tab(
    experiment: Experiment, participant: ParticipantSpec, first: ObservingClient, number: int, seed: int
) -> tuple[ParticipantSpec, SecondTab]:
    """The tab of this ``number``, from 2, of a participant, with a copy of the session that ``first`` has."""
    person = person_of(participant.actor)
    spec = msgspec.structs.replace(participant, actor=tab_name(person, number))
    return spec, SecondTab(Identity(EVENT, person, spec.actor), first, experiment, seed)


class TokenReplay(ReconnectingConnection):
    """Presents one token over one connection, and tells the ``owner`` of the token what came of it."""

    def __init__(self, owner: ObservingClient, token: str, rules: ClientRules) -> None:
        super().__init__(rules, lambda *_: 0.0)
        self.is_answered = False
        self._owner, self._token = owner, token

    def transport_failed(  # noqa: PLR0913 - as in the base class
        self,
        dial: int,
        cause: str,
        now: Instant,
        advice: Seconds | None = None,
        *,
        status: int | None = None,
        detail: str | None = None,
    ) -> None:
        """The connection could not be opened: there is no second attempt."""
        del cause, advice, status, detail
        if dial == self.dial:
            self._end_replay(UNANSWERED, now)

    def transport_lost(  # noqa: PLR0913 - as in the base class
        self,
        dial: int,
        cause: str,
        now: Instant,
        code: int = CloseCode.ABNORMAL,
        advice: Seconds | None = None,
        *,
        reason: str = "",
    ) -> None:
        """The connection ended before a reply; a close code is one."""
        del cause, advice, reason
        if dial == self.dial:
            self._end_replay(UNANSWERED if code == CloseCode.ABNORMAL else f"close_{code}", now)

    def _send_first_message(self, now: Instant) -> None:  # noqa: ARG002 - the link's signature
        self._send(Resume(event=EVENT, token=self._token, accepts_deflate=True, attempt=1))

    def _receive_joining(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, Joined | StateRestored):
            self._end_replay(ACCEPTED, now)
        elif isinstance(message, ResumeRejected):
            self._end_replay(message.reason, now)

    def _receive_open(self, message: ServerMessage, now: Instant) -> None:
        """It never has a session: it leaves with the first reply."""

    def _end_replay(self, outcome: str, now: Instant) -> None:
        if self.state is not ClientState.CLOSED:
            self.is_answered = outcome != UNANSWERED
            self._owner.note_replay(self._token, outcome, now)
            self.leave(now)


def replays_for(first: ObservingClient, experiment: Experiment) -> TokenReplay | None:
    """A replay against a client that has a session and has held a token that was replaced; else ``None``."""
    token = first.tokens.replaced if first.state is ClientState.OPEN else None
    return None if token is None else TokenReplay(first, token, experiment.client.rules)
