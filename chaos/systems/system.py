"""A system under test under one name: its server, its clients, their settings. Read from TOML, put into experiments.

Bundled ones are found by name, anyone's own by the path of a file.
"""

from __future__ import annotations

import difflib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from resilience.config import ClientConfig, ServerConfig
from resilience.errors import ConfigError, ExperimentError, UsageError
from resilience.experiment.drivers import DRIVER_KINDS, ClientDriver, FleetDriver
from resilience.experiment.loader import check_table_kind
from resilience.experiment.spec import LOGGED_METRICS, Experiment
from resilience.experiment.targets import TARGET_KINDS, EvidenceSource, QuizTargetSpec, TargetSpec, check_target
from resilience.text_files import bundled_texts, read_named
from resilience.validation import one_line, violation_of


class NamedSystem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server and its clients. ``settings``: in words, what is not at its default.

    ``server`` and ``client`` configure this program's own server and clients, where they are those of the system.
    """

    name: str = ""
    title: str
    settings: str = ""
    target: TargetSpec = QuizTargetSpec()
    driver: ClientDriver = FleetDriver()
    server: ServerConfig = ServerConfig()
    client: ClientConfig = ClientConfig()

    def __post_init__(self) -> None:
        """Check every rule."""
        check_target("target", self.target)


def bundled_systems() -> dict[str, NamedSystem]:
    """The ready-made systems by name."""
    texts = bundled_texts(files(__package__) / "catalogue")
    return {name: parse_system(text, f"{name}.toml", name) for name, text in texts.items()}


def load_system(name_or_path: str) -> NamedSystem:
    """The bundled system of this name, or that of a TOML file, which is called as the file.

    Raises :class:`~resilience.errors.ExperimentError` in one line.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        text = read_named(path, lambda reason: ExperimentError(name_or_path, "", reason))
        return parse_system(text, name_or_path, path.stem)
    bundled = bundled_systems()
    if name_or_path in bundled:
        return bundled[name_or_path]
    near = difflib.get_close_matches(name_or_path, bundled, n=1)
    meant = f"did you mean {near[0]}?" if near else f"bundled: {', '.join(bundled)}"
    raise ExperimentError(name_or_path, "", f"no such system, and no file that ends in .toml; {meant}")


def parse_system(text: str, file: str, name: str) -> NamedSystem:
    """The system written in ``text``; ``file`` is only named in errors."""
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExperimentError(file, "", f"not TOML: {error}") from error
    if "cohorts" in tree:
        raise ExperimentError(
            file, "cohorts", "this is an experiment; a system is a file with a title, a [target], a [driver]"
        )
    check_table_kind(tree, file, "target", TARGET_KINDS)
    check_table_kind(tree, file, "driver", DRIVER_KINDS)
    try:
        return msgspec.structs.replace(msgspec.convert(tree, NamedSystem), name=name)
    except msgspec.ValidationError as error:
        violation = violation_of(error)
        raise ExperimentError(file, one_line(violation.key("")), one_line(violation.clause)) from error
    except ConfigError as error:
        raise ExperimentError(file, error.key, f"{error.value!r}: {error.rule}") from error


def with_system(experiment: Experiment, system: NamedSystem) -> Experiment:
    """The experiment with its schedule, clients and targets, on this system and with the settings of it.

    Targets that only the log of this program's server can tell are left out where the system has none. Raises
    :class:`~resilience.errors.UsageError` for what the system cannot carry out.
    """
    own = next((cohort for cohort in experiment.cohorts if cohort.driver is not None), None)
    if own is not None:
        rule = f"its cohort {own.name} has clients of its own, {own.driver}, and a system brings the clients of all"
        raise UsageError(f"{experiment.name} on {system.name}: {rule}")
    has_log = EvidenceSource.SERVER_LOG in system.target.evidence
    kept = tuple(
        item for item in experiment.expectations if has_log or item.metric.partition(".")[0] not in LOGGED_METRICS
    )
    try:
        return msgspec.structs.replace(
            experiment,
            target=system.target,
            driver=system.driver,
            server=system.server,
            client=system.client,
            expectations=kept,
        )
    except ConfigError as error:
        raise UsageError(f"{experiment.name} on {system.name}: {error}") from error
