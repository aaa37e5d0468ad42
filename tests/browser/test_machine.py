"""The pages' JavaScript: its machine repeats the Python one step for step, its types hold, its libraries are pinned."""

from __future__ import annotations

from pathlib import Path

from ..support.client_traces import FILE, rendered, traces
from .conftest import HERE, RunTool


def test_the_traces_are_those_of_the_python_machines() -> None:
    assert FILE.read_text("utf-8") == rendered(), "renew with: python -m tests.support.client_traces"


def test_the_traces_reach_every_state() -> None:
    reached = ("connecting", "joining", "open", "backing_off", "gave_up", "closed")
    text = FILE.read_text("utf-8")
    assert all(f'"state": "{state}"' in text for state in reached)


def test_the_traces_correct_the_time_left_after_a_hold_and_a_sleep() -> None:
    lost = [
        step for trace in traces() for step in trace["steps"] for effect in step["effects"] if is_correction(effect)
    ]
    assert {"receive", "slept"} == {step["event"] for step in lost}


def is_correction(effect: dict[str, object]) -> bool:
    return effect.get("kind") == "transport.lost" and effect["cause"] in ("question_held", "slept")


def test_the_machine_of_the_pages_agrees_number_by_number(run_tool: RunTool) -> None:
    done = run_tool("--test", *sorted((HERE / "unit").glob("*.test.js")))
    assert done.returncode == 0, done.stdout[-8000:]


def test_the_types_hold(run_tool: RunTool, node_modules: Path) -> None:
    done = run_tool(node_modules / "typescript" / "bin" / "tsc", "-p", ".")
    assert done.returncode == 0, done.stdout[-8000:]


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (HERE / "package-lock.json").read_text("utf-8")


def test_the_vendored_file_is_made_from_the_pinned_packages(
    run_tool: RunTool, node_modules: Path, root: Path, tmp_path: Path
) -> None:
    done = run_tool("build-vendor.mjs", tmp_path)
    assert done.returncode == 0, done.stderr
    vendor = root / "resilience" / "web" / "vendor"
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["LICENSE-htm", "LICENSE-preact", "preact.js"]
    assert [name for name in made if (tmp_path / name).read_bytes() != (vendor / name).read_bytes()] == []
