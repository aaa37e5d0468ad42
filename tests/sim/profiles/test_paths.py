"""The paths of participants as arrays."""

from __future__ import annotations

import pytest

from resilience.errors import ConfigError
from sim.profiles.files import parse_mix
from sim.profiles.paths import paths_of
from sim.profiles.timelines import on_grid


def test_each_participant_has_the_path_of_its_link() -> None:
    mix = parse_mix(("carrier-outage+lte-moving=2", "home-wifi+congested-venue=3"))
    paths = paths_of(mix)
    assert paths.latency.tolist() == on_grid([0.025] * 2 + [0.0125] * 3).tolist()
    assert paths.jitter.tolist() == on_grid([0.015] * 2 + [0.005] * 3).tolist()
    assert paths.loss.tolist() == [0.005] * 2 + [0.002] * 3
    assert paths.loss_burst.tolist() == [6.0] * 2 + [4.0] * 3
    part = paths_of(mix, 1, 4)
    assert part.latency.tolist() == paths.latency[1:4].tolist()
    assert paths_of(mix, 2, 2).latency.shape == (0,)


def test_an_incident_by_itself_has_no_path() -> None:
    with pytest.raises(ConfigError, match=r"lay them over a link, such as home-wifi\+server-deploy"):
        paths_of(parse_mix(("home-wifi=2", "server-deploy=2")))
