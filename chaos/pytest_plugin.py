"""The pytest plugin ``quiz_resilience``: the fixture ``chaos_run`` and the marker ``chaos``.

A run is the command that a user would type, in a process of its own: an event loop, warning filters or a captured
output of the tests never reach it, and Ctrl-C ends it in order. Nothing of the project is imported before a test asks
for the fixture.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from reports.summary import Summary

MARKER = "chaos"
EXTRA_OF_LANE = {"real": "chaos", "virtual": "sim", "model": "sim"}
"""By lane: the extra that its laboratory needs."""

INCONCLUSIVE = ("fail", "xfail", "skip")
_ENDING_S = 60.0
"""Seconds within which an interrupted run ends its processes and stores its history."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and settings of the plugin."""
    group = parser.getgroup("chaos", "chaos runs (quiz-resilience)")
    group.addoption("--chaos-dir", type=Path, help="Keep run directories here; default: in pytest's temporary folder.")
    group.addoption("--chaos-inconclusive", choices=INCONCLUSIVE, help="What an undecided run makes of its test.")
    parser.addini("chaos_inconclusive", "What an undecided run makes of its test: fail, xfail or skip.", default="fail")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the setting."""
    words = "chaos(experiment, lane='virtual', seed=None, overrides=()): what the fixture chaos_run runs in this test"
    config.addinivalue_line("markers", words)
    setting = config.getini("chaos_inconclusive")
    if setting not in INCONCLUSIVE:
        raise pytest.UsageError(f"chaos_inconclusive = {setting!r}: use one of {', '.join(INCONCLUSIVE)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marked test that does not use the fixture runs nothing, and must not pass for it."""
    if item.get_closest_marker(MARKER) and "chaos_run" not in getattr(item, "fixturenames", ()):
        pytest.fail("marked chaos, but without the fixture chaos_run nothing is run", pytrace=False)


@dataclass(frozen=True)
class ChaosOutcome:
    """A run that ended with a verdict.

    ``verdict``: pass, fail or inconclusive. ``summary``: every figure of the report. ``run_dir``: the directory with
    ``report.html`` and the evidence. ``exit_code``: 0, 1 or 3, as of the command.
    """

    verdict: str
    summary: Summary
    run_dir: Path
    exit_code: int
    inconclusive: str = "fail"

    def assert_passed(self) -> None:
        """Fail the test, with the reasons, unless the run passed; an undecided one as configured."""
        if self.verdict == "pass":
            return
        said = self.message()
        if self.verdict == "inconclusive" and self.inconclusive == "xfail":
            pytest.xfail(said)
        if self.verdict == "inconclusive" and self.inconclusive == "skip":
            pytest.skip(said)
        pytest.fail(said, pytrace=False)

    def message(self) -> str:
        """The verdict, its reasons, the command that repeats the run, and where its report is."""
        reasons = [f"  {reason}" for reason in self.summary.reasons]
        head = f"{self.summary.experiment}, lane {self.summary.lane.value}, seed {self.summary.seed}: {self.verdict}"
        if self.verdict == "inconclusive":
            head += " (neither proven nor refuted: more fault events or repetitions would decide)"
        return "\n".join(
            [head, *reasons, f"run it again: {self.summary.reproduce}", f"report: {self.run_dir / 'report.html'}"]
        )


@dataclass(frozen=True)
class _Request:
    """One run, as the fixture or the marker asks for it."""

    experiment: str
    lane: str
    seed: int | None
    overrides: tuple[str, ...]


class ChaosRunner:
    """The fixture's value: call it to run an experiment; the marker of the test gives what is left out."""

    def __init__(self, test: pytest.FixtureRequest, folder: Path) -> None:
        self._test, self._folder = test, folder

    def __call__(
        self,
        experiment: str | Path | None = None,
        *,
        lane: str | None = None,
        seed: int | None = None,
        overrides: Sequence[str] | None = None,
    ) -> ChaosOutcome:
        """Run it and return its outcome.

        ``experiment``: a bundled name, or a file, relative to the test's folder or the current one. ``lane``: real,
        virtual (default) or model. ``overrides``: ``KEY=VALUE``, as of ``--set``. Skips the test where a package of the
        lane is missing; fails it where the request is wrong or the laboratory fails.
        """
        asked = self._asked(experiment, lane, seed, overrides)
        _skip_without(EXTRA_OF_LANE[asked.lane])
        run_dir = self._new_run_dir(asked)
        code, printed = _run(_command(asked, run_dir))
        self._test.node.user_properties.append(("chaos_run_dir", str(run_dir)))
        if code not in _VERDICTS:
            _explain(code, printed)
        config = self._test.config
        policy = config.getoption("chaos_inconclusive") or config.getini("chaos_inconclusive")
        return ChaosOutcome(_VERDICTS[code], _read_summary(run_dir), run_dir, code, policy)

    def _asked(
        self, experiment: str | Path | None, lane: str | None, seed: int | None, overrides: Sequence[str] | None
    ) -> _Request:
        marked = _marked(self._test.node)
        chosen = marked.get("experiment") if experiment is None else experiment
        if chosen is None:
            pytest.fail("chaos_run needs an experiment: name it in the call or in @pytest.mark.chaos", pytrace=False)
        where = marked.get("lane", "virtual") if lane is None else lane
        if where not in EXTRA_OF_LANE:
            pytest.fail(f"chaos: lane={where!r}: use one of {', '.join(EXTRA_OF_LANE)}", pytrace=False)
        settings = marked.get("overrides", ()) if overrides is None else overrides
        if isinstance(settings, str):
            pytest.fail(f"chaos: overrides={settings!r}: use a list, such as [{settings!r}]", pytrace=False)
        near = self._test.path.parent / chosen
        found = str(near if near.is_file() else chosen)
        return _Request(found, where, marked.get("seed") if seed is None else seed, tuple(settings))

    def _new_run_dir(self, asked: _Request) -> Path:
        """A folder that no other run has."""
        name = f"{Path(asked.experiment).stem}-{asked.lane}"
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            run_dir = self._folder / f"{name}-{number}"
            with suppress(FileExistsError):
                run_dir.mkdir()
                return run_dir
            number += 1


_VERDICTS = {0: "pass", 1: "fail", 3: "inconclusive"}
"""By exit code of the command."""

_ARGUMENTS = ("experiment", "lane", "seed", "overrides")


def _marked(node: pytest.Item) -> dict[str, Any]:
    """The arguments of the nearest marker."""
    marker = node.get_closest_marker(MARKER)
    if marker is None:
        return {}
    unknown = sorted(set(marker.kwargs) - set(_ARGUMENTS))
    if unknown or len(marker.args) > 1:
        found = ", ".join(unknown) or f"{len(marker.args)} arguments without a name"
        pytest.fail(f"@pytest.mark.chaos: {found}: use {', '.join(_ARGUMENTS)}", pytrace=False)
    return {**dict(zip(_ARGUMENTS, marker.args, strict=False)), **marker.kwargs}


def _skip_without(extra: str) -> None:
    """Skip the test, with what to install, where a package of the extra is missing."""
    from resilience.extras import missing_of  # noqa: PLC0415 - only a test that uses the fixture pays for it

    advice = missing_of(extra)
    if advice is not None:
        pytest.skip(advice)


def _command(asked: _Request, run_dir: Path) -> list[str]:
    words = ["chaos", "run"] if asked.lane == "real" else ["sim", "run", "--lane", asked.lane]
    words += [asked.experiment, "--quiet", "--out", str(run_dir)]
    words += [] if asked.seed is None else ["--seed", str(asked.seed)]
    for override in asked.overrides:
        words += ["--set", override]
    return [sys.executable, "-m", "resilience", *words]


def _run(command: list[str]) -> tuple[int, str]:
    """The exit code and everything that was printed; an interrupted test ends the run first."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            printed, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ENDING_S)
            process.kill()
            raise
    return process.returncode, printed


def _explain(code: int, printed: str) -> NoReturn:
    """Fail for a run that has no verdict."""
    why = {2: "the request is wrong", 4: "the laboratory failed, which says nothing about the system"}
    said = why.get(code, f"the command ended with code {code}")
    pytest.fail(f"chaos: {said}:\n{printed.strip()}", pytrace=False)


def _read_summary(run_dir: Path) -> Summary:
    import msgspec  # noqa: PLC0415 - only a test that uses the fixture pays for it

    from reports.summary import Summary as Read  # noqa: PLC0415 - same

    return msgspec.json.decode((run_dir / "summary.json").read_bytes(), type=Read)


@pytest.fixture
def chaos_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ChaosRunner:
    """Run experiments: ``chaos_run("smoke").assert_passed()``; see :class:`ChaosRunner`."""
    kept: Path | None = request.config.getoption("chaos_dir")
    name = "".join(char if char.isalnum() else "-" for char in request.node.name).strip("-")
    return ChaosRunner(request, tmp_path_factory.mktemp("chaos") if kept is None else kept / name)
