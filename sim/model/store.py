"""The database of the model: committed rows, and group commit. Knows nothing of rooms or links.

Requests that arrive during a commit go together into the next one, in the order of their arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resilience.errors import HarnessError
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Persist, Row, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.units import Seconds

from .clock import SimEnvironment
from .threads import ModelThread


class ModelStore:
    """Tables of one event; ``settled`` receives each batch after it is durable, and calls :meth:`commit_next`.

    ``latency``: one commit, seconds; the work of a ``thread`` of its own, if there is one.
    """

    def __init__(
        self,
        clock: SimEnvironment,
        latency: Seconds,
        settled: Callable[[Sequence[Persist]], None],
        thread: ModelThread | None = None,
    ) -> None:
        self._clock, self._latency, self._settled, self._thread = clock, latency, settled, thread
        self._waiting: list[Persist] = []
        self._busy = False
        self._process = 0
        self.sessions: dict[str, SessionRow] = {}
        self.answers: dict[tuple[str, str], StoredAnswer] = {}
        self.attempts: list[JoinAttempt] = []
        self.state = QuizState()

    def submit(self, order: Persist) -> None:
        """Commit these rows: at once, or with the next batch."""
        self._waiting.append(order)
        if not self._busy:
            self._begin()

    def lose_uncommitted(self) -> None:
        """The process that submitted is gone: what waits, and a commit under way, never happen."""
        self._waiting.clear()
        self._busy = False
        self._process += 1
        if self._thread is not None:
            self._thread.clear()

    @property
    def is_busy(self) -> bool:
        """Whether a commit is under way or waits."""
        return self._busy

    def scores(self) -> dict[str, int]:
        """The points of every stored participant, by the committed answers alone."""
        scores = dict.fromkeys(self.sessions, 0)
        for answer in self.answers.values():
            scores[answer.participant] += answer.points
        return scores

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = True
        process = self._process
        if self._thread is None:
            self._clock.at(self._clock.now + self._latency, lambda _: self._commit(batch, process))
        else:
            self._thread.do(self._latency, lambda: self._commit(batch, process))

    def _commit(self, batch: list[Persist], process: int) -> None:
        if process != self._process:
            return
        for order in batch:
            for row in order.rows:
                self._write(row)
        self._settled(batch)

    def commit_next(self) -> None:
        """The last batch is settled: commit what has come meanwhile."""
        self._busy = bool(self._waiting)
        if self._busy:
            self._begin()

    def _write(self, row: Row) -> None:
        if isinstance(row, StoredAnswer):
            key = (row.participant, row.question)
            if key in self.answers:
                raise HarnessError(
                    f"{row.participant} has a stored answer to {row.question} already: the key is unique"
                )
            self.answers[key] = row
        elif isinstance(row, SessionRow):
            self.sessions[row.participant] = row
        elif isinstance(row, DeleteParticipant):
            self.sessions.pop(row.participant, None)
        elif isinstance(row, QuizState):
            if row.step >= self.state.step:  # as in the database: no later row takes back a step
                self.state = row
        else:
            self.attempts.append(row)
