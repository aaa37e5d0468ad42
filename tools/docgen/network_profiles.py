"""The tables of ``docs/network-profiles.md``: each bundled profile, what it comes to, where its numbers are from."""

from __future__ import annotations

import numpy as np

from docgen.sources import table
from sim.profiles.describe import parameter_rows, process_lines
from sim.profiles.files import bundled_profiles
from sim.profiles.mix import NetworkMix, Segment
from sim.profiles.profile import NetworkProfile
from sim.profiles.sampler import sample

PARTICIPANTS, HOUR = 20_000, 3600.0


def figures() -> str:
    """A row for each profile: outages of an hour, drawn with a fixed seed."""
    rows = [[f"[`{name}`](#{name})", profile.title, *_drawn(profile)] for name, profile in bundled_profiles().items()]
    return table(["profile", "link or incident", "outages", "median", "p90", "time without a link"], rows)


def parameters() -> str:
    """A section for each profile, with every parameter."""
    return "\n\n".join(map(_section, bundled_profiles().values()))


def _drawn(profile: NetworkProfile) -> list[str]:
    drawn = sample(NetworkMix((Segment("all", PARTICIPANTS, (profile,)),)), HOUR, seed=1)
    lengths = drawn.end - drawn.start
    down = (np.minimum(drawn.end, HOUR) - drawn.start).sum() / (PARTICIPANTS * HOUR)
    median, p90 = np.quantile(lengths, [0.5, 0.9])
    return [f"{drawn.outages / PARTICIPANTS:.2f}", f"{median:.1f} s", f"{p90:.0f} s", f"{down:.2%}"]


def _section(profile: NetworkProfile) -> str:
    lines = "\n".join(f"- {line}" for line in process_lines(profile))
    rows = [[f"`{key}`", value, _linked(basis)] for key, value, basis in parameter_rows(profile)]
    return f"### {profile.name}\n\n{profile.title}.\n\n{lines}\n\n{table(['parameter', 'value', 'basis'], rows)}"


def _linked(basis: str) -> str:
    """Addresses between angle brackets, which Markdown makes links of."""
    return " ".join(f"<{word.rstrip(',')}>" if word.startswith("https://") else word for word in basis.split())
