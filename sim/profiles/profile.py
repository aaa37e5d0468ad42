"""What a network profile says: the quality of a path and the processes by which its outages arrive, as values.

Every number is a :class:`Parameter`: it says whether it was published, and where, or assumed, and why. A profile checks
its rules when it is made and raises :class:`~resilience.errors.ConfigError` with the dotted key. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from resilience.errors import require

from .timelines import OutageKind

MAX_PER_HOUR = 3600.0
MAX_LENGTH_S = 86_400.0
MAX_GROUPS = 10_000

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SUM_TOLERANCE = 1e-9


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A number and where it comes from: ``published`` names one of the profile's sources, ``assumed`` gives a reason.

    Exactly one of the two is given. ``note``: what the source says, where that needs words.
    """

    value: float
    published: str = ""
    assumed: str = ""
    note: str = ""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A publication: author (or publisher), title, year (0 where it bears none) and URL (empty for a paper)."""

    author: str
    title: str
    year: int = 0
    url: str = ""

    @property
    def citation(self) -> str:
        """The source in one line."""
        parts = (self.author, self.title, str(self.year or ""), self.url)
        return ", ".join(part for part in parts if part)


class PathQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A working path: ``round_trip`` its median in seconds, ``jitter`` by how much one way differs at most (uniform).

    ``loss``: share of packets; ``loss_burst``: mean length of a run of lost ones, in packets. The two give the
    transition probabilities of Gilbert's channel, which loses every packet in its bad state: it leaves that state with
    1 / ``loss_burst`` (Pieper and Voran, NTIA Technical Memo TM-23-565, 2023).
    """

    round_trip: Parameter
    jitter: Parameter
    loss: Parameter
    loss_burst: Parameter


def first_path(profiles: Sequence[NetworkProfile]) -> PathQuality | None:
    """The path of links with these profiles laid over one another: that of the first which has one."""
    return next((profile.path for profile in profiles if profile.path is not None), None)


class Poisson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="poisson"):
    """Outages begin independently of one another, ``per_hour`` times an hour on average."""

    per_hour: Parameter


class GilbertElliott(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="gilbert_elliott"):
    """A link that alternates between a good and a bad state, both of exponential length, and begins in the good one.

    ``bad``: share of time in the bad state; ``burst``: its mean length in seconds.
    """

    bad: Parameter
    burst: Parameter

    @property
    def mean_gap(self) -> float:
        """Mean length of the good state, seconds."""
        return self.burst.value * (1.0 - self.bad.value) / self.bad.value


class Once(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="once"):
    """One outage: ``at`` this share of the horizon, in each further group ``step`` seconds later."""

    at: Parameter
    step: Parameter


class Lognormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lognormal"):
    """Lengths whose logarithm is normal: ``median`` in seconds, ``sigma`` of the natural logarithm."""

    share: Parameter
    median: Parameter
    sigma: Parameter


class Uniform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="uniform"):
    """Lengths between ``shortest`` and ``longest`` seconds."""

    share: Parameter
    shortest: Parameter
    longest: Parameter


Arrivals = Poisson | GilbertElliott | Once
LengthDistribution = Lognormal | Uniform


class SharedFate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose outages are one: groups of participants that are struck together.

    ``members``: consecutive participants of a segment form a group, as at one access point; or ``groups``: so many
    groups in the whole population, each participant in one of them by chance, as with server processes behind a
    balancer. Exactly one of the two is given. ``struck``: the share of a group that an outage reaches.
    """

    struck: Parameter
    members: Parameter | None = None
    groups: Parameter | None = None


class OutageProcess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cause of outages.

    ``lengths``: a mixture, shares adding up to 1; with Gilbert–Elliott arrivals there is none, since the burst says it.
    Lengths are cut to ``least`` and ``most`` seconds. ``silent``: the share of outages without a close, the others
    refuse; or ``effect`` for what is neither. ``shared``: groups, where outages strike groups. ``member_delays``: what
    a struck member of a group needs in addition, each with the probability ``share``, seconds after the shared end.
    """

    about: str
    arrivals: Arrivals
    least: Parameter
    most: Parameter
    lengths: tuple[LengthDistribution, ...] = ()
    silent: Parameter | None = None
    effect: Literal["deploy", "suspended"] | None = None
    shared: SharedFate | None = None
    member_delays: tuple[LengthDistribution, ...] = ()

    @property
    def kind(self) -> OutageKind | None:
        """The kind of every outage; ``None`` where chance decides between silent and refused."""
        return None if self.effect is None else OutageKind[self.effect.upper()]


class NetworkProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of link, or an incident that strikes links: each process of ``outages`` by its name.

    Profiles can be laid over one another: their outages are united.
    """

    name: str
    title: str
    outages: dict[str, OutageProcess]
    path: PathQuality | None = None
    sources: dict[str, Source] = {}

    def __post_init__(self) -> None:
        """Check every rule."""
        require(bool(_NAME.fullmatch(self.name)), "name", self.name, "must be lower-case letters, digits and -")
        require(bool(self.outages), "outages", {}, "must name at least one process")
        _check_provenance(self)
        if self.path is not None:
            _check_path(self.path)
        for name, process in self.outages.items():
            require(bool(_NAME.fullmatch(name)), f"outages.{name}", name, "must be lower-case letters, digits and -")
            _check_process(f"outages.{name}", process)

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted key, in the order of the file."""
        for name in ("path", "outages"):
            yield from _parameters(name, getattr(self, name))


def _parameters(key: str, value: object) -> Iterator[tuple[str, Parameter]]:
    if isinstance(value, Parameter):
        yield key, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _parameters(f"{key}.{name}", getattr(value, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _parameters(f"{key}.{name}", item)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _parameters(f"{key}[{i}]", item)


# rules ----------------------------------------------------------------------------------------------------------------


def _check_provenance(profile: NetworkProfile) -> None:
    used = set()
    for key, parameter in profile.parameters():
        given = (parameter.published, parameter.assumed)
        require(bool(given[0]) != bool(given[1]), key, parameter.value, 'needs either "published" or "assumed"')
        require(math.isfinite(parameter.value), key, parameter.value, "must be finite")
        there = ", ".join(profile.sources) or "none"
        known = not parameter.published or parameter.published in profile.sources
        require(known, f"{key}.published", parameter.published, f"no such source; [sources] has: {there}")
        used.add(parameter.published)
    for name in profile.sources:
        require(name in used, f"sources.{name}", name, "is not the source of any parameter")


def _check_path(path: PathQuality) -> None:
    _positive("path.round_trip", path.round_trip)
    half = path.round_trip.value / 2
    _between("path.jitter", path.jitter, 0, half, "half the round trip")
    _between("path.loss", path.loss, 0, 0.5)
    least = 1.0 / (1.0 - path.loss.value)
    rule = f"must be at least {least:g} packets: so long is a run when losses are independent"
    require(path.loss_burst.value >= least, "path.loss_burst", path.loss_burst.value, rule)


def _check_process(key: str, process: OutageProcess) -> None:
    alternates = isinstance(process.arrivals, GilbertElliott)
    _check_arrivals(f"{key}.arrivals", process.arrivals)
    _positive(f"{key}.least", process.least)
    _between(f"{key}.most", process.most, process.least.value, MAX_LENGTH_S)
    rule = "must be left out: with gilbert_elliott the burst says how long outages last"
    require(not (alternates and process.lengths), f"{key}.lengths", len(process.lengths), rule)
    require(alternates or bool(process.lengths), f"{key}.lengths", 0, "must have at least one distribution")
    total = math.fsum(each.share.value for each in process.lengths)
    adds_up = not process.lengths or abs(total - 1.0) < _SUM_TOLERANCE
    require(adds_up, f"{key}.lengths", total, "the shares must add up to 1")
    one = (process.silent is None) != (process.effect is None)
    require(one, f"{key}.silent", process.silent and process.silent.value, 'needs either "silent" or "effect"')
    if process.silent is not None:
        _share(f"{key}.silent", process.silent)
    for name in ("lengths", "member_delays"):
        for i, each in enumerate(getattr(process, name)):
            _check_lengths(f"{key}.{name}[{i}]", each)
    rule = "only members of a group have delays of their own: give [shared]"
    require(process.shared is not None or not process.member_delays, f"{key}.member_delays", "given", rule)
    if process.shared is not None:
        _check_shared(f"{key}.shared", process.shared)


def _check_arrivals(key: str, arrivals: Arrivals) -> None:
    match arrivals:
        case Poisson():
            _between(f"{key}.per_hour", arrivals.per_hour, 0, MAX_PER_HOUR)
        case GilbertElliott():
            _between(f"{key}.bad", arrivals.bad, 1e-9, 0.5)
            _positive(f"{key}.burst", arrivals.burst)
            least = 3600.0 / MAX_PER_HOUR
            rule = f"bursts would come every {arrivals.mean_gap:g} s; at least {least:g} s must lie between two"
            require(arrivals.mean_gap >= least, f"{key}.burst", arrivals.burst.value, rule)
        case Once():
            at = arrivals.at.value
            require(0 <= at < 1, f"{key}.at", at, "must be a share of the horizon, from 0 to below 1")
            _between(f"{key}.step", arrivals.step, 0, MAX_LENGTH_S)


def _check_lengths(key: str, lengths: LengthDistribution) -> None:
    _share(f"{key}.share", lengths.share)
    match lengths:
        case Lognormal():
            _positive(f"{key}.median", lengths.median)
            _between(f"{key}.sigma", lengths.sigma, 0, 4)
        case Uniform():
            _between(f"{key}.shortest", lengths.shortest, 0, MAX_LENGTH_S)
            _between(f"{key}.longest", lengths.longest, lengths.shortest.value, MAX_LENGTH_S)


def _check_shared(key: str, shared: SharedFate) -> None:
    _share(f"{key}.struck", shared.struck)
    one = (shared.members is None) != (shared.groups is None)
    require(one, f"{key}.members", shared.members and shared.members.value, 'needs either "members" or "groups"')
    for name, most in (("members", 1e9), ("groups", MAX_GROUPS)):
        parameter: Parameter | None = getattr(shared, name)
        if parameter is not None:
            _between(f"{key}.{name}", parameter, 1, most)
            require(parameter.value % 1 == 0, f"{key}.{name}", parameter.value, "must be a whole number")


def _share(key: str, parameter: Parameter) -> None:
    require(0 <= parameter.value <= 1, key, parameter.value, "must be a share from 0 to 1")


def _positive(key: str, parameter: Parameter) -> None:
    require(0 < parameter.value <= MAX_LENGTH_S, key, parameter.value, f"must be above 0 and at most {MAX_LENGTH_S:g}")


def _between(key: str, parameter: Parameter, least: float, most: float, words: str = "") -> None:
    rule = f"must be from {least:g} to {most:g}" + (f", {words}" if words else "")
    require(least <= parameter.value <= most, key, parameter.value, rule)
