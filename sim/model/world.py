"""A whole run: clock, server, links, clients, faults, in one SimPy world. Knows how they meet, not what they do."""

from __future__ import annotations

from resilience.eventlog.vocabulary import LogEventKind, Verdict
from resilience.eventlog.writer import EventSink
from resilience.experiment.spec import Experiment
from resilience.lab.participants import first_dial, make_scripted_client, participants_of

from .client import ModelClientDriver
from .clock import DelayLine, SimEnvironment
from .costs import ModelCosts
from .encoding import IdentityCodec, MessageCodecHook
from .faults import Injector
from .journal import Journal
from .link import ModelLink
from .server import ModelServerDriver


def simulate(experiment: Experiment, seed: int, sink: EventSink, costs: ModelCosts | None = None) -> None:
    """Run the experiment in the model and write its complete event log, in order of time.

    The same experiment, seed and costs give the same events, byte for byte, in any process.
    """
    ModelRun(experiment, seed, sink, costs).run()


class ModelRun:
    """Everything that takes part in one run."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        sink: EventSink,
        costs: ModelCosts | None = None,
        wire: MessageCodecHook | None = None,
    ) -> None:
        costs, wire = costs or ModelCosts(), wire or IdentityCodec()
        self.experiment, self.seed = experiment, seed
        self.clock, self.journal = SimEnvironment(), Journal(sink)
        self.server = ModelServerDriver(
            experiment, seed, clock=self.clock, costs=costs, journal=self.journal, wire=wire
        )
        self.links = {cohort.name: ModelLink(self.clock, costs, self.server) for cohort in experiment.cohorts}
        self.clients = [
            ModelClientDriver(
                participant.actor,
                participant.cohort,
                make_scripted_client(experiment, participant, seed),
                clock=self.clock,
                link=self.links[participant.cohort],
                journal=self.journal,
                wire=wire,
            )
            for participant in participants_of(experiment)
        ]
        self._injector = Injector(self.clock, self.links, self.journal)

    def run(self) -> None:
        """Ramp up, look whether the steady state holds, break things, write the end."""
        experiment, journal = self.experiment, self.journal
        journal.run(LogEventKind.RUN_STARTED, 0.0, value=experiment.duration)
        self._ramp_up()
        self.clock.run_until(experiment.hypothesis.within)
        if self._is_steady():
            self._injector.schedule(experiment.windows(self.seed))
            self.clock.run_until(experiment.duration)
            self._end("completed")
        else:
            self._end("failed", "not steady")

    def _ramp_up(self) -> None:
        first_dials: DelayLine[ModelClientDriver] = DelayLine(self.clock, ModelClientDriver.start)
        moments = [
            first_dial(self.experiment, participant, self.seed) for participant in participants_of(self.experiment)
        ]
        for i in sorted(range(len(moments)), key=moments.__getitem__):
            first_dials.put(moments[i], self.clients[i])

    def _is_steady(self) -> bool:
        share = sum(client.is_open for client in self.clients) / len(self.clients)
        holds = share >= self.experiment.hypothesis.joined
        verdict = Verdict.PASS if holds else Verdict.FAIL
        self.journal.run(LogEventKind.RUN_STEADY, self.clock.now, value=share, outcome=verdict)
        return holds

    def _end(self, outcome: str, cause: str | None = None) -> None:
        self.server.write_final_records()
        self.journal.run(LogEventKind.RUN_ENDED, self.clock.now, outcome=outcome, cause=cause)
