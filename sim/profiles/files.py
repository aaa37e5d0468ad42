"""Finds and reads network profiles: the bundled ones by name, others by the path of their TOML file.

Every complaint is one line that names the file, the key and the rule.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import msgspec

from resilience.errors import ConfigError, UsageError
from resilience.text_files import bundled_texts, read_named
from resilience.validation import one_line, violation_of

from .mix import NetworkMix, Segment
from .profile import NetworkProfile, OutageProcess, Source

_Value = TypeVar("_Value")

_NAMED_TABLES: dict[str, type] = {"outages": OutageProcess, "sources": Source}

_MAX_DIGITS = 9
_SEGMENT = "must be PROFILE=PARTICIPANTS, such as home-wifi=100 or lte-moving+carrier-outage=50"


class ProfileError(UsageError):
    """A network profile's file cannot be used; ``key`` is a dotted path such as ``outages.stall.silent``."""

    def __init__(self, file: str, key: str, rule: str) -> None:
        super().__init__(one_line(f"{file}: {key}: {rule}" if key else f"{file}: {rule}"))
        self.file, self.key, self.rule = file, key, rule


@cache
def bundled_profiles() -> dict[str, NetworkProfile]:
    """The profiles that the package ships, by name, in the order of their names."""
    texts = bundled_texts(files("sim.profiles") / "catalogue")
    profiles = [parse_profile(text, f"{name}.toml") for name, text in texts.items()]
    return {profile.name: profile for profile in profiles}


def load_profile(name_or_path: str) -> NetworkProfile:
    """The bundled profile of that name, or the one of a file whose path ends in ``.toml``."""
    if name_or_path in bundled_profiles():
        return bundled_profiles()[name_or_path]
    if name_or_path.endswith(".toml"):
        return parse_profile(_read(Path(name_or_path)), name_or_path)
    near = difflib.get_close_matches(name_or_path, bundled_profiles(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"bundled: {', '.join(bundled_profiles())}"
    raise ProfileError(name_or_path, "", f"no such network profile; {hint} (a file of your own ends in .toml)")


def parse_profile(text: str, file: str) -> NetworkProfile:
    """The profile written in ``text``; ``file`` is only named in errors."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(file, "", f"not TOML: {error}") from error
    for table, kind in _NAMED_TABLES.items():
        entries = tree.get(table)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            _converted(entry, kind, file, f"{table}.{name}")
    return _converted(tree, NetworkProfile, file)


def parse_mix(texts: tuple[str, ...]) -> NetworkMix:
    """The population of segments such as ``lte-moving+carrier-outage=50``: profiles over one another, and a number.

    A segment is named by its profiles; raises :class:`~resilience.errors.UsageError` for what is no segment.
    """
    return NetworkMix(tuple(map(_segment, texts)))


def _converted(tree: object, kind: type[_Value], file: str, prefix: str = "") -> _Value:
    """One table as a value; those that a file names are read by themselves first, so that an error has their names."""
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        violation = violation_of(error)
        raise ProfileError(file, violation.key(prefix), violation.clause) from error
    except ConfigError as error:
        raise ProfileError(file, error.key, f"{error.value!r}: {error.rule}") from error


def _segment(text: str) -> Segment:
    names, equals, number = text.rpartition("=")
    if not (equals and number.isascii() and number.isdecimal() and len(number) <= _MAX_DIGITS):
        raise UsageError(one_line(f"{text!r}: {_SEGMENT}"))
    profiles = tuple(load_profile(name) for name in names.split("+"))
    return Segment("_".join(profile.name for profile in profiles), int(number), profiles)


def _read(path: Path) -> str:
    return read_named(path, lambda reason: ProfileError(str(path), "", reason))
