"""The pytest plugin in test runs of their own, found by the entry point that the package declares."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from chaos.pytest_plugin import ChaosOutcome
from reports.build import analyse

from ..support.deadlines import HANG_S
from ..support.log_builder import LogBuilder, clean_history, sample_history


@pytest.fixture(scope="module", name="installed")
def _installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution with the entry points of ``pyproject.toml`` as they are now, whatever is installed."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / "entry_points_under_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: entry-points-under-test\nVersion: 1\n")
    lines = [f"{name} = {where}" for name, where in project["entry-points"]["pytest11"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    return site


class Project:
    """A folder with tests of its own."""

    def __init__(self, folder: Path, root: Path, site: Path) -> None:
        self.folder, self.path = folder, os.pathsep.join(map(str, (root, site)))
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --strict-markers\n")

    def run(self, text: str, *options: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
        (self.folder / "test_it.py").write_text("import pytest\n" + textwrap.dedent(text))
        command = [sys.executable, *(["-c", code] if code else ["-m", "pytest", "-rA", *options])]
        environment = {**os.environ, "PYTHONPATH": self.path}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=HANG_S
        )


@pytest.fixture(name="project")
def _project(tmp_path: Path, root: Path, installed: Path) -> Project:
    return Project(tmp_path, root, installed)


def test_the_example_passes(project: Project, root: Path) -> None:
    example = root / "docs" / "ci" / "test_reconnection.py"
    done = project.run("", str(example), "--chaos-dir", "kept", "--junitxml", "junit.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = sorted(path.relative_to(project.folder) for path in (project.folder / "kept").glob("*/*/report.html"))
    assert [path.parts[-2] for path in kept] == ["smoke-virtual-1"]
    assert 'name="chaos_run_dir"' in (project.folder / "junit.xml").read_text(encoding="utf-8")


def test_wrong_requests_and_forgotten_fixtures_fail_in_words(project: Project) -> None:
    done = project.run("""
        @pytest.mark.chaos(experiment="smoke")
        def test_forgotten(): pass
        def test_nothing(chaos_run): chaos_run()
        def test_lane(chaos_run): chaos_run("smoke", lane="reel")
        def test_overrides(chaos_run): chaos_run("smoke", overrides="a=1")
        @pytest.mark.chaos(experimnt="smoke")
        def test_argument(chaos_run): chaos_run()
        def test_unknown(chaos_run): chaos_run("smoek")
    """)
    assert done.returncode == 1
    for said in (
        "without the fixture chaos_run nothing is run",
        "chaos_run needs an experiment",
        "lane='reel': use one of real, virtual, model",
        "use a list, such as ['a=1']",
        "@pytest.mark.chaos: experimnt: use experiment, lane, seed, overrides",
        "did you mean smoke?",
    ):
        assert said in done.stdout
    assert "Traceback" not in done.stdout


def test_a_missing_extra_skips_with_what_to_install(project: Project) -> None:
    (project.folder / "conftest.py").write_text(
        "import resilience.extras as extras\nextras.EXTRAS = {**extras.EXTRAS, 'sim': ('no_such_package',)}\n"
    )
    done = project.run("def test_it(chaos_run): chaos_run('smoke')\n")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "pip install 'quiz-resilience[sim]'" in done.stdout


def test_a_wrong_setting_is_a_usage_error(project: Project) -> None:
    done = project.run("def test_it(): pass\n", "-o", "chaos_inconclusive=maybe")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "chaos_inconclusive = 'maybe': use one of fail, xfail, skip" in done.stderr


def test_test_runs_without_the_fixture_load_nothing_of_the_project(project: Project) -> None:
    """Only the plugin's own module, which needs pytest and the standard library."""
    code = (
        "import sys, pytest; assert pytest.main(['-q']) == 0; "
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in "
        "{'chaos', 'sim', 'reports', 'resilience', 'pandas', 'numpy', 'websockets', 'click', 'msgspec'}))"
    )
    done = project.run("def test_it(): pass\n", code=code)
    assert done.stdout.splitlines()[-1] == "['chaos', 'chaos.pytest_plugin']", done.stdout + done.stderr


def outcome(history: LogBuilder, run_dir: Path, policy: str = "fail") -> ChaosOutcome:
    _, _, summary = analyse(history.write(run_dir))
    return ChaosOutcome(summary.verdict.value, summary, run_dir, int(summary.exit_code), policy)


def test_a_failed_run_fails_with_its_reasons(tmp_path: Path) -> None:
    failed = outcome(sample_history(clients=20, losing=0.5), tmp_path)
    with pytest.raises(pytest.fail.Exception) as caught:
        failed.assert_passed()
    said = str(caught.value)
    assert said.startswith("tiny, lane model, seed 1: fail\n  success_rate")
    assert "run it again: resilience sim run" in said
    assert str(tmp_path / "report.html") in said


@pytest.mark.parametrize(
    "policy, raised",
    [("fail", pytest.fail.Exception), ("xfail", pytest.xfail.Exception), ("skip", pytest.skip.Exception)],
)
def test_an_undecided_run_does_what_the_user_chose(policy: str, raised: type[BaseException], tmp_path: Path) -> None:
    undecided = outcome(clean_history(4), tmp_path, policy)
    assert undecided.verdict == "inconclusive"
    with pytest.raises(raised, match="neither proven nor refuted"):
        undecided.assert_passed()
