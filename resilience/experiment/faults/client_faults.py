"""The kinds of faults that act on clients. Pure."""

from __future__ import annotations

from typing import ClassVar

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults.declaration import AND_POPULATION, Composition, Fault
from resilience.experiment.primitives import (
    ClientsSilent,
    DuplicateClients,
    FaultTarget,
    ReplaysAnswered,
    ReplayTokens,
    ResumeClients,
    SecondConnections,
    SuspendClients,
)
from resilience.units import Seconds


class ClientSuspendFault(Fault, frozen=True, tag="client_suspend", kw_only=True):
    """The clients of the cohorts stand still for ``duration`` seconds, and then continue as if no time had passed.

    Those that one fault strikes share a process with no others.
    """

    duration: Seconds

    target: ClassVar[FaultTarget] = FaultTarget.CLIENT
    holds_back: ClassVar[bool] = True
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def composition(self) -> Composition:
        """Suspends; resumes."""
        return Composition(begin=(SuspendClients(),), end=(ResumeClients(),), symptom=ClientsSilent())


class ClientDuplicateFault(Fault, frozen=True, tag="client_duplicate"):
    """Each client that has a session gets a second tab with a copy of it, which stays open.

    That the first one's connection ends is the server's work, not the fault's, so a connection can survive it.
    """

    target: ClassVar[FaultTarget] = FaultTarget.CLIENT
    fleet_only: ClassVar[bool] = True

    @property
    def composition(self) -> Composition:
        """Opens the tabs; nothing is undone."""
        return Composition(begin=(DuplicateClients(),), symptom=SecondConnections())


class TokenReplayFault(Fault, frozen=True, tag="token_replay"):
    """An old token of each client that has a session is presented from elsewhere; the client must not notice it.

    A client of which no token was replaced yet has none to replay, so a fault that ends connections has to come before.
    """

    target: ClassVar[FaultTarget] = FaultTarget.CLIENT
    disturbs: ClassVar[bool] = False
    fleet_only: ClassVar[bool] = True

    @property
    def composition(self) -> Composition:
        """Presents the tokens; nothing is undone."""
        return Composition(begin=(ReplayTokens(),), symptom=ReplaysAnswered())
