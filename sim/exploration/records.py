"""The directory of an exploration: its plan, a line for each seed that was run, an experiment for each finding.

What is written stays, whatever ends the exploration: a line is whole or is not counted. Knows files and names; runs
nothing.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from resilience.errors import HarnessError, UsageError
from resilience.experiment.loader import to_toml
from resilience.experiment.primitives import CrashPoint
from resilience.experiment.spec import Experiment
from resilience.lab.command import RUNS
from resilience.lab.run_directory import create_shared_dir

from .seeds import Generator, SeedResult

PLAN, SEEDS, FINDINGS = "exploration.json", "seeds.jsonl", "findings"


class ExplorationPlan(msgspec.Struct, frozen=True):
    """What an exploration generates: equal plans run the same experiments, whatever their first seed and number."""

    what: Generator
    clients: int


class SeedRecord(msgspec.Struct, frozen=True):
    """What came of one seed: what broke with its counterexample, where the server died, how much each check checked."""

    seed: int
    broken: dict[str, str] = {}
    crashes: tuple[CrashPoint, ...] = ()
    checked: dict[str, int] = {}

    @classmethod
    def of(cls, result: SeedResult) -> SeedRecord:
        """The record of a result."""
        checked = {name: count for name, count in Counter(result.checked).items() if count}
        return cls(result.seed, dict(result.broken), tuple(point for _, point in result.crashes), checked)


class ShrunkFinding(msgspec.Struct, frozen=True):
    """An experiment that breaks ``rule``: the seed that showed it, and what the smallest experiment breaks with it.

    ``runs``: how many runs shrinking took; ``complete``: whether no single reduction was left. ``size``: in words.
    """

    rule: str
    seed: int
    broken: dict[str, str]
    size: str
    runs: int
    complete: bool


class ExplorationDirectory:
    """An exploration's files. ``done``: the records of the seeds that were run, by seed."""

    def __init__(self, path: Path, plan: ExplorationPlan) -> None:
        self.path, self.plan = path, plan
        self.done: dict[int, SeedRecord] = {}

    @classmethod
    def open(cls, out: Path | None, plan: ExplorationPlan) -> ExplorationDirectory:
        """A new directory, or that of an exploration of the same plan, with what it has.

        Raises :class:`~resilience.errors.UsageError` for a directory of anything else.
        """
        if out is not None and (out / PLAN).is_file():
            return cls._resumed(out, plan)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = create_shared_dir(out, RUNS / f"explore-{plan.what}" / stamp, "the directory of the exploration")
        opened = cls(path, plan)
        with opened._writing():
            (path / PLAN).write_bytes(msgspec.json.encode(plan) + b"\n")
        return opened

    @classmethod
    def _resumed(cls, path: Path, plan: ExplorationPlan) -> ExplorationDirectory:
        try:
            stored = msgspec.json.decode((path / PLAN).read_bytes(), type=ExplorationPlan)
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"{path / PLAN}: not the plan of an exploration: {error}") from error
        if stored != plan:
            said = f"sim explore {stored.what} --clients {stored.clients}"
            raise UsageError(f"{path}: holds an exploration of another plan, {said}; choose another --out")
        opened = cls(path, plan)
        opened.done = {record.seed: record for record in opened._read_seeds()}
        return opened

    def _read_seeds(self) -> Iterator[SeedRecord]:
        """Every whole line; an unfinished last line is cut off."""
        file = self.path / SEEDS
        if not file.exists():
            return
        data = file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            with self._writing():
                file.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                yield msgspec.json.decode(line, type=SeedRecord)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UsageError(f"{file}:{number}: not the record of a seed: {error}") from error

    def add(self, record: SeedRecord) -> None:
        """Keep the record of one seed; HarnessError when it cannot be written."""
        with self._writing(), (self.path / SEEDS).open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        self.done[record.seed] = record

    def add_finding(self, finding: ShrunkFinding, experiment: Experiment) -> None:
        """Keep a finding and its experiment; HarnessError when it cannot be written."""
        folder = self.path / FINDINGS / finding.rule
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self.experiment_of(finding.rule).write_text(to_toml(experiment), encoding="utf-8")
            (folder / "finding.json").write_bytes(msgspec.json.format(msgspec.json.encode(finding), indent=2) + b"\n")

    def findings(self) -> list[ShrunkFinding]:
        """Every finding that has an experiment, by its rule."""
        found = []
        for file in sorted((self.path / FINDINGS).glob("*/finding.json")):
            with contextlib.suppress(msgspec.DecodeError, OSError):
                found.append(msgspec.json.decode(file.read_bytes(), type=ShrunkFinding))
        return found

    def experiment_of(self, rule: str) -> Path:
        """Where the experiment of a finding is."""
        return self.path / FINDINGS / rule / "experiment.toml"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HarnessError(f"{self.path}: cannot be written: {error.strerror or error}") from error
