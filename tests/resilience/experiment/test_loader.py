"""Reading experiments: each bad input gives one line that names file, key and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.config import ClientConfig, ServerConfig
from resilience.errors import ExitCode, ExperimentError
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault
from resilience.experiment.loader import catalogue, load, load_file, parse, to_toml
from resilience.experiment.primitives import Direction
from resilience.experiment.spec import Cohort, Expectation, Experiment, Hypothesis, Op, Statistics
from resilience.policy.backoff import Jitter, Preset

BASE = """
name = "a"
duration = 60
[[cohorts]]
name = "x"
clients = 10
"""
CUT = '[[faults]]\nkind = "cut"\nat = 20\ncohorts = ["x"]\n'
LATENCY = '[[expectations]]\nmetric = "excess_s.p95"\nop = "<"\nthreshold = 2.0\n'
EXPECT = '[[expectations]]\nmetric = "success_rate"\nop = ">="\nthreshold = 0.95\n'

WHOLE = Experiment(
    name="whole",
    title='Everything set, with "quotes" and é',
    duration=120.0,
    seed=9,
    ramp=2.0,
    cohorts=(Cohort("x", 10), Cohort("y-2", 5)),
    server=ServerConfig(heartbeat_interval=5.0, late_window=1.0),
    client=ClientConfig(preset=Preset.CLASSIC, attempts=7, jitter=Jitter.DECORRELATED),
    faults=(
        CutFault(20.0, ("x",), times=3, every=10.0, jitter=2.0),
        RefuseFault(25.0, ("x", "y-2"), duration=3.0),
        BlackholeFault(30.0, ("y-2",), duration=15.0, direction=Direction.UP),
    ),
    hypothesis=Hypothesis(0.9, 8.0),
    expectations=(
        Expectation("success_rate", Op.AT_LEAST, 0.95, 0.9, "x", "cut"),
        Expectation("excess_s.p95", Op.BELOW, 5.0),
    ),
    statistics=Statistics(20.0, 0.1),
)


CRASH = '[[faults]]\nkind = "server_kill"\nat = 20\nduration = 5\n'


def complaint(text: str, overrides: tuple[str, ...] = (), scale: float = 1.0) -> ExperimentError:
    """What is said about an experiment that cannot be used; always one line and the exit code of bad input."""
    with pytest.raises(ExperimentError) as caught:
        parse(text, "f.toml", overrides, scale)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value


@pytest.mark.parametrize(
    "text, key, rule",
    [
        # unknown keys, at each level
        ("speed = 1\n" + BASE, "speed", "unknown field"),
        (BASE + "speed = 1\n", "cohorts[0].speed", "unknown field"),
        (BASE + "[server]\nspeed = 1\n", "server.speed", "unknown field"),
        (BASE + "[client]\nspeed = 1\n", "client.speed", "unknown field"),
        (BASE + "[quiz]\nspeed = 1\n", "quiz.speed", "unknown field"),
        (BASE + "[hypothesis]\nspeed = 1\n", "hypothesis.speed", "unknown field"),
        (BASE + "[statistics]\nspeed = 1\n", "statistics.speed", "unknown field"),
        (BASE + CUT + "speed = 1\n", "faults[0].speed", "unknown field"),
        (BASE + CUT + CUT + "duration = 1\n", "faults[1].duration", "unknown field"),
        (BASE + EXPECT + "speed = 1\n", "expectations[0].speed", "unknown field"),
        # unknown keys that are nearly one that there is
        ("expectation = []\n" + BASE, "expectation", "did you mean expectations?"),
        (BASE + "[client]\nprset = 1\n", "client.prset", "did you mean preset?"),
        # the file of a system
        ('title = "x"\n[driver]\nkind = "fleet"\n', "cohorts", "this is a system; run an experiment on it"),
        # wrong types
        (BASE.replace("60", '"60"'), "duration", "expected `float`, got `str`"),
        (BASE.replace("10", '"10"'), "cohorts[0].clients", "expected `int`, got `str`"),
        (BASE.replace("10", "10.5"), "cohorts[0].clients", "expected `int`, got `float`"),
        (BASE.replace("10", "true"), "cohorts[0].clients", "expected `int`, got `bool`"),
        ("server = 5\n" + BASE, "server", "expected `object`, got `int`"),
        (BASE + "[server]\ngrace_period = []\n", "server.grace_period", "expected `float`, got `array`"),
        (BASE + '[client]\npreset = "fast"\n', "client.preset", "invalid enum value"),
        (BASE + CUT.replace("20", '"20"'), "faults[0].at", "expected `float`, got `str`"),
        (BASE + CUT.replace('["x"]', '["x", 5]'), "faults[0].cohorts[1]", "expected `str`, got `int`"),
        (BASE + CUT.replace("cut", "melt"), "faults[0].kind", "'melt': must be one of: bandwidth, blackhole,"),
        (BASE + CUT.replace('kind = "cut"', ""), "faults[0].kind", "missing required field"),
        (BASE + CUT + EXPECT.replace(">=", "=>"), "expectations[0].op", "invalid enum value"),
        # missing keys
        (BASE.replace('name = "a"', ""), "name", "missing required field"),
        (BASE.replace("clients = 10", ""), "cohorts[0].clients", "missing required field"),
        (BASE + CUT.replace("cut", "refuse"), "faults[0].duration", "missing required field"),
        ("", "name", "missing required field"),
        # rules of one value
        (BASE.replace('"a"', '"A b"'), "name", "lower-case"),
        (BASE.replace("60", "0"), "duration", "positive"),
        (BASE.replace("60", "nan"), "duration", "positive"),
        (BASE.replace("60", "inf"), "duration", "positive"),
        ("ramp = 60\n" + BASE, "ramp", "less than duration"),
        (BASE.replace("10", "0"), "cohorts[0].clients", "from 1 to 1,000,000"),
        (BASE + "[hypothesis]\njoined = 1.2\n", "hypothesis.joined", "share"),
        (BASE + "[hypothesis]\njoined = -0.1\n", "hypothesis.joined", "share"),
        (BASE + "[hypothesis]\nwithin = 2\n", "hypothesis.within", "between ramp and duration"),
        (BASE + "[statistics]\ncorrelation = 1.2\n", "statistics.correlation", "between 0 and 1"),
        (BASE + "[statistics]\ndeadline = 0\n", "statistics.deadline", "positive"),
        (BASE + EXPECT.replace("0.95", "1.2"), "expectations[0].threshold", "rate must be between 0 and 1"),
        (BASE + EXPECT.replace("0.95", "-0.1"), "expectations[0].threshold", "rate must be between 0 and 1"),
        (BASE + EXPECT + "confidence = 1.0\n", "expectations[0].confidence", "below 1"),
        (BASE + EXPECT.replace("success_rate", "success"), "expectations[0].metric", "unknown; one of: success_rate"),
        # rules between values
        (BASE + "[server]\ngrace_period = 3\n", "server.grace_period", "must exceed heartbeat_interval (15 s)"),
        (BASE + "[server]\ncleanup_interval = 29\n", "server.cleanup_interval", "at least grace_period"),
        (BASE + "[quiz]\nanswer_share = 1.2\n", "quiz.answer_share", "share between 0 and 1"),
        (BASE + "[client]\nmultiplier = 0.5\n", "client.multiplier", "at least 1"),
        (BASE + '[[cohorts]]\nname = "x"\nclients = 1\n', "cohorts[1].name", "unique"),
        (BASE + CUT.replace('["x"]', '["z"]'), "faults[0].cohorts", "unknown cohort; there are: x"),
        (BASE + CUT.replace('["x"]', "[]"), "faults[0].cohorts", "at least one"),
        (BASE + CUT.replace('["x"]', '["x", "x"]'), "faults[0].cohorts", "must not repeat"),
        (BASE + CUT + "times = 2\n", "faults[0].every", "needed when times is above 1"),
        (BASE + CUT + "times = 0\n", "faults[0].times", "at least 1"),
        (BASE + CUT + "every = -1.0\n", "faults[0].every", "positive"),
        (BASE + CUT + "jitter = -1.0\n", "faults[0].jitter", "negative"),
        (BASE + CUT.replace("cut", "refuse") + "duration = 0\n", "faults[0].duration", "positive"),
        (BASE + CUT.replace("20", "9.9"), "faults[0].at", "before hypothesis.within"),
        (BASE + CUT.replace("20", "60"), "faults[0].at", "after the run's duration"),
        (BASE + CUT.replace("20", "58.5"), "duration", "at least 60.5: the last fault ends at 58.5 s"),
        (BASE + CUT.replace("20", "57") + LATENCY, "duration", "at least 62: the last fault ends at 57 s"),
        (BASE + CUT + LATENCY.replace("2.0", "45.0"), "duration", "and returns need 45 s"),
        (BASE + CUT + "times = 5\nevery = 10\n", "faults[0].at", "would end at 60 s"),
        (BASE + CUT + "jitter = 41.0\n", "faults[0].at", "would end at 61 s"),
        (BASE.replace("10", "10\nleaves_at = 61"), "cohorts[0].leaves_at", "within the run's duration"),
        (BASE + CRASH + 'crash = { point = "sometime" }\n', "faults[0].crash.point", "invalid enum value"),
        (BASE + CRASH + "crash = { skip = -1 }\n", "faults[0].crash.skip", "negative"),
        (BASE + CRASH + "crash = { within = 5.0 }\n", "faults[0].crash.within", "less than the fault's duration (5 s)"),
        (BASE + CRASH + "crash = { pause = -1.0 }\n", "faults[0].crash.pause", "negative"),
        (BASE + CRASH + "crash = { kept = 1.1 }\n", "faults[0].crash.kept", "share from 0 to 1"),
        (BASE + EXPECT + 'cohort = "z"\n', "expectations[0].cohort", "unknown cohort"),
        (BASE + EXPECT + 'fault = "cut"\n', "expectations[0].fault", "no fault of this kind"),
        ('name = "a"\nduration = 60\ncohorts = []\n', "cohorts", "at least one cohort"),
        ('name = "a"\nduration = 60\ncohorts = 5\n', "cohorts", "expected `array`, got `int`"),
    ],
)
def test_each_bad_input_gives_one_line(text: str, key: str, rule: str) -> None:
    """File, key and rule."""
    error = complaint(text)
    assert (error.file, error.key) == ("f.toml", key)
    assert rule in error.rule
    assert str(error) == f"f.toml: {key}: {error.rule}"


@pytest.mark.parametrize(
    "text",
    ["name = ", "name = 'a\n'", BASE + BASE, "a = " + "[" * 100_000, 'name = "\x00"'],
    ids=["cut off", "newline", "twice", "deep", "control"],
)
def test_what_is_not_toml_is_said_to_be_none(text: str) -> None:
    """With the line and column that the parser names."""
    error = complaint(text)
    assert error.key == ""
    assert error.rule.startswith("not TOML: ")


@pytest.mark.parametrize(
    "text",
    [
        '"two\\nlines" = 1\n' + BASE,
        BASE + '[client]\npreset = "two\\nlines"\n',
        BASE.replace('"a"', '"two\\nlines"'),
        BASE + CUT.replace('"cut"', '"two\\nlines"'),
        BASE + EXPECT.replace("success_rate", "two\\nlines"),
    ],
)
def test_values_with_newlines_stay_on_one_line(text: str) -> None:
    """What the user wrote cannot break the line."""
    assert "two" in str(complaint(text))


# files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["absent.toml", "folder.toml", "folder", "binary.toml", "name" * 100, "nul\0.toml"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a directory, bytes that are no text, a name that no file can have."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ExperimentError) as caught:
        load(name)
    assert caught.value.file == name
    assert "\n" not in str(caught.value)


def test_a_path_and_a_text_give_the_same(tmp_path: Path) -> None:
    """Whatever it is read through."""
    path = tmp_path / "a.toml"
    path.write_text(BASE)
    assert load(str(path)) == load_file(path) == parse(BASE, "f.toml")


def test_a_file_without_suffix_is_found(tmp_path: Path) -> None:
    """What exists is a file before it is a name."""
    (tmp_path / "plain").write_text(BASE)
    assert load(str(tmp_path / "plain")).name == "a"


def test_an_unknown_name_lists_or_suggests_the_bundled_ones() -> None:
    """Nothing to read, but a hint where to go."""
    with pytest.raises(ExperimentError, match=r"no such file or bundled experiment; (bundled: |did you mean )"):
        load("no-such-experiment")


@pytest.mark.parametrize("name", catalogue())
def test_every_bundled_experiment_is_valid(name: str) -> None:
    """And is called what its file is called."""
    assert load(name).name == name


# overrides and scale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override, check",
    [
        ("client.preset=classic", lambda e: e.client.preset is Preset.CLASSIC),
        ("server.grace_period=20", lambda e: e.server.grace_period == 20.0),
        ("cohorts.0.clients=99", lambda e: e.clients == 99),
        ("faults.0.at=30", lambda e: e.faults[0].at == 30.0),
        ("seed=5", lambda e: e.seed == 5),
        ("title=several words = fine", lambda e: e.title == "several words = fine"),
        ('title="quoted"', lambda e: e.title == "quoted"),
        ("faults=[]", lambda e: e.faults == ()),
        ("faults.0.cohorts.0=x", lambda e: e.faults[0].cohorts == ("x",)),
    ],
)
def test_overrides(override: str, check: object) -> None:
    """A dotted path, through tables and lists, to a TOML value or plain text."""
    assert callable(check)
    assert check(parse(BASE + CUT, "f.toml", (override,)))


@pytest.mark.parametrize(
    "override, key, rule",
    [
        ("seed", "seed", "must be KEY=VALUE"),
        ("=5", "=5", "must be KEY=VALUE"),
        ("cohorts.1.clients=5", "cohorts.1.clients", "'1' must be a number below 1"),
        ("cohorts.x.clients=5", "cohorts.x.clients", "this is a list"),
        ("cohorts.-1.clients=5", "cohorts.-1.clients", "this is a list"),
        ("cohorts.²=5", "cohorts.²", "this is a list"),
        ("name.x=5", "name.x", "leads into a plain value"),
        ("name.x.y=5", "name.x.y", "leads into a plain value"),
    ],
)
def test_a_bad_override_is_named(override: str, key: str, rule: str) -> None:
    """As what was typed, not as a fault of the file."""
    error = complaint(BASE, (override,))
    assert (error.file, error.key) == ("--set", key)
    assert rule in error.rule


@pytest.mark.parametrize(
    "override, key",
    [
        ("speed=1", "speed"),
        ("server.speed=1", "server.speed"),
        ("client.attempts=many", "client.attempts"),
        ("server.grace_period=1", "server.grace_period"),
        ("nowhere.at.all=1", "nowhere"),
        ("name=", "name"),
    ],
)
def test_an_override_must_keep_the_rules(override: str, key: str) -> None:
    """They are those of the file."""
    assert complaint(BASE, (override,)).key == key


def test_the_last_override_wins() -> None:
    """They are applied in order."""
    assert parse(BASE, "f.toml", ("seed=1", "seed=2")).seed == 2


@pytest.mark.parametrize("scale, clients", [(1.0, 10), (0.5, 5), (3.0, 30), (0.001, 1), (0.25, 2)])
def test_scale(scale: float, clients: int) -> None:
    """Cohorts shrink and grow, never below one client."""
    assert parse(BASE, "f.toml", scale=scale).clients == clients


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_scale_is_named(scale: float) -> None:
    """It must be a positive number."""
    error = complaint(BASE, scale=scale)
    assert (error.file, error.key, error.rule) == ("--scale", str(scale), "must be a positive number")


def test_a_scale_beyond_all_bounds_is_a_broken_rule() -> None:
    """A million clients a cohort is the limit, scaled or not."""
    assert complaint(BASE, scale=1e9).key == "cohorts[0].clients"


# writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", [WHOLE, parse(BASE, "f.toml"), parse(BASE + CUT + EXPECT, "f.toml")])
def test_what_is_written_reads_back_equal(experiment: Experiment) -> None:
    """Resolved, with its digest."""
    again = parse(to_toml(experiment), "f.toml")
    assert again == experiment
    assert again.digest == experiment.digest


def test_no_steady_state_need_be_asked_for() -> None:
    """A share of 0 lets faults strike while clients still join."""
    text = BASE + "[hypothesis]\njoined = 0\nwithin = 0\n" + CUT.replace("20", "0.5")
    assert parse(text, "f.toml").faults[0].at == 0.5
