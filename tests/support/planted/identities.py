"""Defects of identities: tokens, names, the numbers of connections."""

from __future__ import annotations

import msgspec

from resilience.protocol.messages import Join
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.identities import IdentityRegistry, PendingJoin
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.tokens import TokenRegistry

from .planting import Catalogue, Planter, Sound, every

DEFECTS = Catalogue()


@DEFECTS.defect("every seventh token opens another session", check="identities_apart")
def other_owner(plant: Planter) -> None:
    due = every(7)

    @plant.instead_of(TokenRegistry, "find")
    def find(sound: Sound, self: TokenRegistry, presented: str) -> str | None:
        owner: str | None = sound(self, presented)
        if owner is None or not due():
            return owner
        return next((who for who in self._states if who != owner), owner)


@DEFECTS.defect("participants are shown under another name", check="identities_apart")
def other_name(plant: Planter) -> None:
    due = every(3)

    @plant.instead_of(IdentityRegistry, "join")
    def join(sound: Sound, self: IdentityRegistry, message: Join, connection: int, now: float) -> PendingJoin:
        shown = msgspec.structs.replace(message, name="another") if due() else message
        found: PendingJoin = sound(self, shown, connection, now)
        return found


@DEFECTS.defect("tokens are not replaced", check="tokens_rotate")
def same_token(plant: Planter) -> None:
    made: dict[str, str] = {}

    @plant.instead_of(TokenRegistry, "rotate")
    def rotate(sound: Sound, self: TokenRegistry, participant: str, presented: str | None) -> str:
        if participant not in made:
            made[participant] = sound(self, participant, presented)
        else:
            self._states[participant].generation += 1
        return made[participant]


@DEFECTS.method(Attendance, "_expire", "a participant is forgotten after the clean-up", check="sessions_survive")
def forgotten(sound: Sound, self: Attendance, session: ServerSession, now: float) -> None:
    sound(self, session, now)
    self._tokens.forget(session.participant)


@DEFECTS.method(ServerSession, "attach", "connections are not numbered upwards", check="newest_connection_wins")
def renumbered(sound: Sound, self: ServerSession, *arguments: object) -> None:
    sound(self, *arguments)
    self.connection_no = min(self.connection_no, 2)
