"""Defects of clients: what they forget of their session and of their answers."""

from __future__ import annotations

import msgspec

from resilience.policy.backoff import Retry, RetryState
from resilience.protocol.client.participant import ParticipantClient

from .planting import Catalogue, Sound

DEFECTS = Catalogue()
STORM_S = 0.02


@DEFECTS.method(
    ParticipantClient, "_send_first_message", "a client that lost its connection joins again", check="one_identity_each"
)
def forgets_token(sound: Sound, self: ParticipantClient, now: float) -> None:
    self.credentials = None
    sound(self, now)


@DEFECTS.method(
    ParticipantClient, "_on_welcome", "a returned client does not send its answers again", check="answers_get_verdicts"
)
def never_resends(sound: Sound, self: ParticipantClient, *arguments: object) -> None:
    pending, self.pending = self.pending, {}
    sound(self, *arguments)
    self.pending = pending


@DEFECTS.result(RetryState, "next", "clients dial again without backoff", check="dials_paced")
def storms(retry: Retry | None) -> Retry | None:
    return retry and msgspec.structs.replace(retry, delay=STORM_S)
