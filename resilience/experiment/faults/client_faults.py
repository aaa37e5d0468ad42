"""The kinds of faults that act on clients. Pure."""

from __future__ import annotations

from typing import ClassVar

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults.declaration import CODE_LANES, Composition, Fault
from resilience.experiment.primitives import ClientsSilent, FaultTarget, ResumeClients, SuspendClients
from resilience.units import Seconds


class ClientSuspendFault(Fault, frozen=True, tag="client_suspend", kw_only=True):
    """The clients of the cohorts stand still for ``duration`` seconds, and then continue as if no time had passed.

    Those that one fault strikes share a process with no others.
    """

    duration: Seconds

    target: ClassVar[FaultTarget] = FaultTarget.CLIENT
    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

    @property
    def composition(self) -> Composition:
        """Suspends; resumes."""
        return Composition(begin=(SuspendClients(),), end=(ResumeClients(),), symptom=ClientsSilent())
