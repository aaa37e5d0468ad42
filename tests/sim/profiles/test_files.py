"""Network profiles as files: the bundled ones, files of one's own, and what a broken one is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.errors import UsageError
from sim.profiles.files import ProfileError, bundled_profiles, load_profile, parse_mix, parse_profile
from sim.profiles.profile import Lognormal, NetworkProfile, Poisson
from sim.profiles.sampler import sample

NAMES = {
    "5g",
    "access-point-restart",
    "carrier-outage",
    "congested-venue",
    "high-speed-rail",
    "home-wifi",
    "leo-satellite",
    "lte-moving",
    "lte-stationary",
    "office-wifi",
    "server-deploy",
    "suspended-tab",
}

OWN = """
name = "own"
title = "A link of mine"

[path]
round_trip = { value = 0.1, assumed = "far" }
jitter = { value = 0.01, assumed = "a little" }
loss = { value = 0.01, published = "me" }
loss_burst = { value = 5, assumed = "bursts" }

[outages.stall]
about = "it stands still"
arrivals = { kind = "poisson", per_hour = { value = 2, published = "me", note = "counted" } }
silent = { value = 0.5, assumed = "half" }
least = { value = 0.1, assumed = "short" }
most = { value = 60, assumed = "long" }
shared = { members = { value = 4, assumed = "a table" }, struck = { value = 1, assumed = "all" } }
[[outages.stall.lengths]]
kind = "lognormal"
share = { value = 1, assumed = "one" }
median = { value = 2, assumed = "m" }
sigma = { value = 1, assumed = "s" }

[sources]
me = { author = "Me", title = "Notes", year = 2024 }
"""


def test_the_twelve_profiles_are_bundled_under_the_names_of_their_files() -> None:
    assert set(bundled_profiles()) == NAMES
    for name, profile in bundled_profiles().items():
        assert load_profile(name) is profile


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_parameter_of_a_bundled_profile_says_where_it_comes_from(name: str) -> None:
    profile = load_profile(name)
    for key, parameter in profile.parameters():
        assert parameter.published or len(parameter.assumed) > 4, key
    assert all(source.citation for source in profile.sources.values())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_bundled_profile_gives_outages(name: str) -> None:
    assert sample(parse_mix((f"{name}=3000",)), 3600.0, seed=1).outages > 0


def test_a_profile_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    profile = load_profile(str(file))
    process = profile.outages["stall"]
    assert isinstance(process.arrivals, Poisson)
    assert isinstance(process.lengths[0], Lognormal)
    assert profile.sources["me"].citation == "Me, Notes, 2024"
    made = parse_mix((f"home-wifi+{file}=12", "5g=3"))
    assert [(segment.name, segment.participants) for segment in made.segments] == [("home-wifi_own", 12), ("5g", 3)]


REPLACED = [
    ("[path]", "[path", "own.toml: not TOML: "),
    ('name = "own"', 'name = "My own"', "own.toml: name: 'My own': must be lower-case letters, digits and -"),
    ('title = "A link of mine"', "", "own.toml: title: "),
    ("value = 0.1, assumed", 'value = "x", assumed', "own.toml: path.round_trip.value: expected `float`, got `str`"),
    ('{ value = 0.1, assumed = "far" }', "0.1", "own.toml: path.round_trip: expected `object`, got `float`"),
    (', assumed = "far"', "", 'path.round_trip: 0.1: needs either "published" or "assumed"'),
    ('assumed = "far"', 'assumed = "far", published = "me"', 'needs either "published" or "assumed"'),
    ('assumed = "far"', 'published = "him"', "path.round_trip.published: 'him': no such source; [sources] has: me"),
    ("[sources]", '[sources]\nhim = { author = "Him", title = "" }', "sources.him: 'him': is not the source of any"),
    ("value = 0.1, assumed", "value = inf, assumed", "path.round_trip: inf: must be finite"),
    ("value = 0.1, assumed", "value = 0, assumed", "path.round_trip: 0.0: must be above 0"),
    ("jitter = { value = 0.01", "jitter = { value = 0.2", "path.jitter: 0.2: must be from 0 to 0.05, half the round"),
    ("loss = { value = 0.01", "loss = { value = 0.6", "path.loss: 0.6: must be from 0 to 0.5"),
    ("value = 5,", "value = 1,", "path.loss_burst: 1.0: must be at least 1.0101 packets"),
    (
        "value = 2, published",
        "value = 9999, published",
        "outages.stall.arrivals.per_hour: 9999.0: must be from 0 to 3600",
    ),
    ('kind = "poisson"', 'kind = "weibull"', "own.toml: outages.stall.arrivals.kind: invalid value 'weibull'"),
    ('kind = "poisson"', 'kind = "once"', "outages.stall.arrivals"),
    ("silent = { value = 0.5", "silent = { value = 1.5", "outages.stall.silent: 1.5: must be a share from 0 to 1"),
    ("silent =", 'effect = "deploy"\nsilent =', 'outages.stall.silent: 0.5: needs either "silent" or "effect"'),
    ("least = { value = 0.1", "least = { value = 90", "outages.stall.most: 60.0: must be from 90 to 86400"),
    ("share = { value = 1", "share = { value = 0.9", "outages.stall.lengths: 0.9: the shares must add up to 1"),
    ("value = 4, assumed", "value = 4.5, assumed", "outages.stall.shared.members: 4.5: must be a whole number"),
    ("members =", 'groups = { value = 2, assumed = "two" }, members =', 'needs either "members" or "groups"'),
    (
        'value = 1, assumed = "s"',
        'value = 9, assumed = "s"',
        "outages.stall.lengths[0].sigma: 9.0: must be from 0 to 4",
    ),
    ("about =", "abuot =", "own.toml: outages.stall.abuot: object contains unknown field `abuot`"),
]


@pytest.mark.parametrize("old, new, complaint", REPLACED)
def test_a_broken_file_is_answered_with_file_key_and_rule(old: str, new: str, complaint: str) -> None:
    assert old in OWN
    with pytest.raises(ProfileError) as error:
        parse_profile(OWN.replace(old, new, 1), "own.toml")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mixture_for_bursts_is_rejected() -> None:
    poisson = 'kind = "poisson", per_hour = { value = 2, published = "me", note = "counted" }'
    chain = 'kind = "gilbert_elliott", bad = { value = 0.1, assumed = "b" }, burst = { value = 3, published = "me" }'
    with pytest.raises(ProfileError, match=r"stall.lengths: 1: must be left out: with gilbert_elliott"):
        parse_profile(OWN.replace(poisson, chain), "own.toml")


def test_delays_of_members_without_a_group_are_rejected() -> None:
    alone = OWN.replace("shared = {", "# {").replace("[sources]", DELAY + "[sources]")
    with pytest.raises(ProfileError, match="only members of a group have delays of their own"):
        parse_profile(alone, "own.toml")


DELAY = """
[[outages.stall.member_delays]]
kind = "uniform"
share = { value = 1, assumed = "one" }
shortest = { value = 1, assumed = "a" }
longest = { value = 2, assumed = "b" }
"""


def test_a_process_has_a_name_that_commands_can_carry() -> None:
    with pytest.raises(ProfileError, match=r"outages.a\\nb: 'a\\nb': must be lower-case"):
        parse_profile(OWN.replace("outages.stall", 'outages."a\\nb"'), "own.toml")


def test_a_profile_without_processes_is_rejected() -> None:
    with pytest.raises(ProfileError, match=r"x.toml: outages: {}: must name at least one process"):
        parse_profile('name = "x"\ntitle = "X"\n[outages]\n', "x.toml")


def test_profiles_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="did you mean home-wifi"):
        load_profile("home-wfi")
    with pytest.raises(ProfileError, match=r"bundled: 5g, access-point-restart, .* ends in .toml"):
        load_profile("zzz")
    with pytest.raises(ProfileError, match="no such file"):
        load_profile(str(tmp_path / "none.toml"))
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile("\0.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(str(tmp_path / "binary.toml"))


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("home-wifi", "must be PROFILE=PARTICIPANTS"),
        ("home-wifi=many", "must be PROFILE=PARTICIPANTS"),
        ("home-wifi=-3", "must be PROFILE=PARTICIPANTS"),
        ("home-wifi=" + "9" * 5000, "must be PROFILE=PARTICIPANTS"),
        ("home-wifi=0", "must be at least 1"),
        ("=5", "no such network profile"),
        ("home-wifi+=5", "no such network profile"),
        ("home-wifi+home-wifi=5", "must not repeat"),
        ("home-wifi=999999999", "must be at most 20,000,000 in all"),
    ],
)
def test_a_segment_that_is_none_is_answered_with_the_rule(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_mix((text,))


def test_two_segments_of_the_same_profiles_are_rejected() -> None:
    with pytest.raises(UsageError, match=r"segments\[1\].name"):
        parse_mix(("home-wifi=5", "home-wifi=6"))


def test_a_profile_is_a_value() -> None:
    assert isinstance(parse_profile(OWN, "a.toml"), NetworkProfile)
    assert parse_profile(OWN, "a.toml") == parse_profile(OWN, "b.toml")
