"""Defects that show when a person opens a second tab, or when an old token is presented."""

from __future__ import annotations

from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Disconnect
from resilience.protocol.messages import Join, Resume
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.identities import IdentityRegistry, PendingJoin
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.tokens import TokenRegistry, token_hash

from .planting import TABS, Catalogue, Planter, Sound

DEFECTS = Catalogue(TABS)


def keep(_: Sound, _self: TokenRegistry, _held: str, _participant: str) -> None:
    """Instead of retiring a token: the server accepts it as long as the run lives."""


@DEFECTS.defect("a newer tab leaves the older one connected", check="replaced_tabs_stay_closed")
def both_act(plant: Planter) -> None:
    @plant.instead_of(ServerSession, "_fence")
    def fence(_: Sound, _self: ServerSession, _old: int, _now: float) -> None:
        return None

    @plant.instead_of(Attendance, "_attach")
    def attach(sound: Sound, self: Attendance, pending_join: PendingJoin, now: float) -> None:
        old = pending_join.session.connection
        sound(self, pending_join, now)
        if old is not None:
            self._subscribers[old] = pending_join.session


@DEFECTS.defect("tabs replace each other in turn", check="replaced_tabs_stay_closed")
def fight(plant: Planter) -> None:
    @plant.instead_of(ServerSession, "_fence")
    def fence(_: Sound, self: ServerSession, old: int, _now: float) -> None:
        self._effects.append(Disconnect(old, CloseCode.GOING_AWAY, "a newer connection took over"))

    plant.replace(TokenRegistry, "_retire", keep)


@DEFECTS.method(IdentityRegistry, "resume", "a second tab counts as a new participant", check="second_tabs_take_over")
def second_join(
    sound: Sound, self: IdentityRegistry, message: Resume, connection: int, now: float
) -> PendingJoin | None:
    found: PendingJoin | None = sound(self, message, connection, now)
    if found is None or found.session.connection is None:
        return found
    name = found.session.name
    return self.join(Join(event=message.event, name=name, instance=f"{name} {connection}"), connection, now)


@DEFECTS.method(IdentityRegistry, "resume", "a connected participant cannot resume", check="second_tabs_take_over")
def locked_out(
    sound: Sound, self: IdentityRegistry, message: Resume, connection: int, now: float
) -> PendingJoin | None:
    owner = self._tokens.find(token_hash(message.token))
    if owner is not None and self.sessions[owner].connection is not None:
        return None
    found: PendingJoin | None = sound(self, message, connection, now)
    return found


@DEFECTS.method(TokenRegistry, "_retire", "a replaced token still opens its session", check="replays_refused")
def replay_accepted(sound: Sound, self: TokenRegistry, held: str, participant: str) -> None:
    keep(sound, self, held, participant)
