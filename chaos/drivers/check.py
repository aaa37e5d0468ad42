"""Examines a client driver with a server that cuts and refuses: what it says, and whether the protocol's rules hold.

Each rule is a :class:`RuleFinding`: it holds, it does not, or the driver never said what it is about. Nothing ends the
examination early but the driver's own end; it is the driver that is judged, so nothing that it does is an error here.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec

from resilience.errors import DriverError
from resilience.units import Seconds

from ..supervised import SupervisedProcess, describe_exit
from .clients import DriverClientState as S
from .echo_target import EchoTarget
from .messages import REPORT_NAMES
from .process import DriverProcess, environment_of
from .trial import Trial
from .trial_target import TrialTarget

NAME = "driver"
"""What the examined process is called in messages."""


class Limits(msgspec.Struct, frozen=True):
    """How long the examination waits for what, and how long its faults last, seconds."""

    load: Seconds = 30.0
    answer: Seconds = 2.0
    """For the answer to an order, and for a loss to be noticed."""
    recover: Seconds = 30.0
    """For clients to have a session, and to have one again."""
    refusal: Seconds = 1.0
    suspension: Seconds = 1.0
    stop: Seconds = 1.0

    def times(self, factor: float) -> Limits:
        """The same with every wait longer by a factor; the faults last as long."""
        slower = {name: getattr(self, name) * factor for name in ("load", "answer", "recover", "stop")}
        return msgspec.structs.replace(self, **slower)


class RuleFinding(msgspec.Struct, frozen=True):
    """A rule in words; ``holds`` is None when the driver gave no occasion. What was found, and what would be right."""

    rule: str
    holds: bool | None
    found: str = ""
    right: str = ""


class Examination(msgspec.Struct, frozen=True):
    """Every finding, and how often each message was seen."""

    findings: tuple[RuleFinding, ...]
    seen: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether no rule is broken."""
        return all(finding.holds is not False for finding in self.findings)


async def examine(  # noqa: PLR0913 - what, where, against what, how long
    command: Sequence[str],
    log: Path,
    *,
    clients: int = 4,
    limits: Limits | None = None,
    options: Mapping[str, Any] | None = None,
    target: AbstractAsyncContextManager[TrialTarget] | None = None,
) -> Examination:
    """Start a driver by ``command`` and examine it; its standard error goes to ``log``. It has ended on return.

    ``options`` are handed to its clients. ``target``: the server to examine it with, the echo server by default.

    Raises :class:`~resilience.errors.HarnessError` when it cannot be started.
    """
    environment = environment_of(os.environ)
    child = await SupervisedProcess.spawn(NAME, command, log, piped=True, guarded=True, env=environment)
    try:
        async with target or EchoTarget() as server:
            trial = Trial(DriverProcess(child), server.url, options or {})
            examiner = _Examiner(trial, server, limits or Limits(), [f"client-{i}" for i in range(1, clients + 1)])
            findings = await examiner.examine()
    finally:
        if child.exit_code is None:
            await child.end_now()
    return Examination(tuple(findings), {name: trial.seen[name] for name in REPORT_NAMES})


class _Examiner:
    """One examination under way."""

    def __init__(self, trial: Trial, target: TrialTarget, limits: Limits, names: list[str]) -> None:
        self._trial, self._target, self._limits, self._names = trial, target, limits, names
        self._findings: list[RuleFinding] = []

    async def examine(self) -> list[RuleFinding]:
        """Every step in order, as far as the driver lives."""
        if not await self._answers_hello():
            return self._findings
        reading = asyncio.create_task(self._trial.read())
        steps = (
            *(self._opens, self._acts, self._recovers_from_cut, self._recovers_from_refusal, self._is_suspended),
            *(self._ignores_fields, self._closes, self._rejects_unknown),
        )
        try:
            for step in steps:
                if self._trial.end is None:
                    await step()
            self._lives()
            if self._trial.end is None:
                await self._stops()
        except DriverError as error:  # it went while it was written to
            self._add("it lives until it receives stop", holds=False, found=str(error), right=_LIVES)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        self._conclude()
        return self._findings

    def _add(self, rule: str, *, holds: bool | None, found: str = "", right: str = "") -> None:
        self._findings.append(RuleFinding(rule, holds, found, "" if holds else right))

    # steps ------------------------------------------------------------------------------------------------------------

    async def _answers_hello(self) -> bool:
        rule, right = "it answers hello, and its clock can be measured", "answer each hello at once with ready"
        try:
            async with asyncio.timeout(self._limits.load):
                clock = await self._trial.measure_clock()
        except TimeoutError:
            self._add(rule, holds=False, found=f"no answer within {self._limits.load:g} s", right=right)
            return False
        except DriverError as error:
            self._add(rule, holds=False, found=str(error), right=right)
            return False
        self._add(rule, holds=True, found=f"known to {clock.uncertainty * 1000:.1f} ms")
        return True

    async def _opens(self) -> None:
        for name in self._names:
            await self._trial.open(name)
        restored = await self._all_restored(self._limits.recover)
        found = f"{self._in_session()}; the server sees {self._target.connections} connections"
        right = f"connect each client to its url, and report attempt, opened and restored{self._target.advice}"
        same = self._target.connections == len(self._names)
        self._add("it opens every client", holds=restored and same, found=found, right=right)

    async def _acts(self) -> None:
        await self._trial.act()
        wanted = len(self._names)
        done = await self._trial.sees(lambda: len(self._trial.acknowledged) >= wanted, self._limits.answer)
        right = "report acknowledged with the key, or a run has no sign that a silent connection lives"
        found = f"{len(self._trial.acknowledged)} of {wanted} acts"
        self._add("it acknowledges what the server confirmed", holds=done or None, found=found, right=right)

    async def _recovers_from_cut(self) -> None:
        losses, before = self._trial.losses, self._target.accepted
        self._target.cut()
        await self._losses("it notices a cut", losses)
        await self._returns("it comes back after a cut", before)

    async def _recovers_from_refusal(self) -> None:
        losses, before = self._trial.losses, self._target.accepted
        await self._target.refuse()
        await self._losses("it notices the end of the server", losses)
        await asyncio.sleep(self._limits.refusal)
        await self._target.accept()
        await self._returns("it comes back after refusals", before)

    async def _is_suspended(self) -> None:
        child = self._trial.process.child
        child.signal(signal.SIGSTOP)
        await asyncio.sleep(self._limits.suspension)
        child.signal(signal.SIGCONT)
        await self._greets("it answers after it was suspended", "answer hello; a sleep is no reason to end")

    async def _ignores_fields(self) -> None:
        right = "ignore fields that you do not know; a newer laboratory may send them"
        await self._greets("it ignores unknown fields", right, surprise="a field of a newer version")

    async def _closes(self) -> None:
        name, before = self._names[0], self._target.connections
        await self._trial.close(name)
        gone = await self._trial.sees(lambda: self._target.connections < before, self._limits.answer)
        found = f"the server saw {before} connections and then {self._target.connections}"
        self._add("it closes a client", holds=gone, found=found, right="end the client's connection, and try no more")

    async def _rejects_unknown(self) -> None:
        await self._trial.process.send_line(b'{"type":"somersault"}\n')
        said = await self._trial.sees(lambda: bool(self._trial.problems), self._limits.answer)
        found = self._trial.problems[0] if said else "nothing"
        right = 'answer with {"type":"error","message":"..."} that names the message'
        self._add("it says in words that it does not know a message", holds=said, found=found, right=right)

    def _lives(self) -> None:
        end = self._trial.end
        found = "" if end is None else str(end)
        self._add("it lives until it receives stop", holds=end is None, found=found, right=_LIVES)

    async def _stops(self) -> None:
        process = self._trial.process
        await process.send_line(b'{"type":"stop"}\n')
        in_time = await process.child.ended(self._limits.stop)
        code = process.child.exit_code
        found = "it still ran" if code is None else describe_exit(code)
        await self._trial.sees(lambda: self._trial.has_ended, self._limits.answer)
        self._add(
            f"it ends within {self._limits.stop:g} s of stop, with exit code 0",
            holds=in_time and code == 0,
            found=found,
            right="end all clients at once, without waiting for closing handshakes, and exit with 0",
        )
        said = self._trial.has_ended
        self._add("it reports its end", holds=said, right='write {"type":"ended","t":...} as the last line')

    # what several steps need ------------------------------------------------------------------------------------------

    async def _greets(self, rule: str, right: str, **unknown: str) -> None:
        number = await self._trial.greet(**unknown)
        answered = await self._trial.sees(lambda: self._trial.has_answered(number), self._limits.answer)
        self._add(rule, holds=answered, found="" if answered else "no answer to hello", right=right)

    async def _losses(self, rule: str, before: int) -> None:
        wanted = before + len(self._names)
        noticed = await self._trial.sees(lambda: self._trial.losses >= wanted, self._limits.answer)
        found = f"{self._trial.losses - before} of {len(self._names)} clients"
        right = "report lost as soon as an open connection is over"
        self._add(rule, holds=noticed, found=found, right=right)

    async def _returns(self, rule: str, accepted: int) -> None:
        had_session = self._trial.arrivals > 0  # without one there is nothing to wait long for
        restored = await self._all_restored(self._limits.recover if had_session else self._limits.answer)
        found = f"{self._in_session()}; the server accepted {self._target.accepted - accepted} new connections"
        right = "try again until a connection opens, and report attempt, opened and restored"
        same = self._target.connections == len(self._names)
        self._add(rule, holds=restored and same, found=found, right=right)

    async def _all_restored(self, within: Seconds) -> bool:
        """Whether every client has a session, and the server a connection for it, in time."""

        def back() -> bool:
            return self._trial.all_are(S.SESSION) and self._target.connections == len(self._names)

        await self._trial.sees(lambda: back() or self._trial.all_are(S.SESSION, S.GAVE_UP), within)
        return await self._trial.sees(back, self._limits.answer) and self._trial.all_are(S.SESSION)

    def _in_session(self) -> str:
        mine = sum(client.in_session for client in self._trial.clients.values())
        return f"{mine} of {len(self._names)} clients in session"

    def _conclude(self) -> None:
        trial = self._trial
        if trial.seen["recorded"]:
            said = {name: trial.seen[name] for name in ("received", "sent")}
            right = "report each message as received or sent, or what clients were shown is not judged"
            shows = all(said.values()) if any(said.values()) else None
            found = ", ".join(f"{name} {count}" for name, count in said.items())
            self._add("it reports what its clients were shown", holds=shows, found=found, right=right)
        for rule, wrong, right in (
            ("every line is a message", trial.wrong_lines, "write one JSON message a line, and nothing else"),
            (
                "time is monotonic, and that of the event",
                trial.wrong_times,
                "stamp each message with a monotonic clock",
            ),
            ("messages follow one another", trial.wrong_order, "attempt, opened, restored, lost, and attempt again"),
        ):
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            self._add(rule, holds=not wrong, found=wrong[0] + more if wrong else "", right=right)


_LIVES = "keep running and answering, whatever happens to a client"
