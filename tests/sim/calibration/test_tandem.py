"""Proxy and server as two stations: their times by hand, and service times that are found again, each apart."""

from __future__ import annotations

import numpy as np
import pytest

from sim.calibration.tandem import (
    Dials,
    SeenRun,
    Service,
    Surroundings,
    distance,
    nearest,
    predict,
    tells_apart,
)

AROUND = Surroundings(there=0.0005, around=0.001, done=np.empty(0), other=0.0)
KINDS = 2


def _dials(accepted: np.ndarray, kind: int = 1, links: int = 1) -> Dials:
    n = len(accepted)
    unseen = np.full(n, np.nan)
    return Dials(np.sort(accepted), np.arange(n) % links, unseen, unseen, np.full(n, kind))


def _seen(dials: Dials, service: Service, around: Surroundings = AROUND) -> SeenRun:
    """What is seen of stations with these service times."""
    upgraded, taken = predict(dials, around, service)
    return SeenRun(dials._replace(upgraded=upgraded, taken=taken), around)


def _herds(seed: int, size: int = 40) -> Dials:
    """Single dials that join, and two herds that resume."""
    chance = np.random.default_rng(seed)
    alone, first, second = (
        chance.uniform(0, 3, 20),
        7 + chance.uniform(0, 0.02, size),
        9 + chance.uniform(0, 0.02, size),
    )
    dials = _dials(np.concatenate([alone, first, second]), links=2)
    return dials._replace(kind=np.where(dials.accepted < 5, 0, 1))


def test_two_dials_of_one_moment_pass_proxy_and_server_in_turn() -> None:
    """By hand: the proxy takes 3 ms for each, the server 1 ms for a handshake and 2 ms for a resume."""
    upgraded, taken = predict(_dials(np.zeros(2)), AROUND, Service(0.003, 0.001, (0.0, 0.002)))
    assert upgraded == pytest.approx([0.0045, 0.0085])  # the second waits for the first one's resume, from 5.5 to 7.5
    assert taken == pytest.approx([0.0075, 0.0115])


def test_a_resume_waits_behind_every_handshake_that_came_before_it() -> None:
    """Without a proxy all handshakes of a herd are done before the first resume."""
    upgraded, taken = predict(_dials(np.zeros(5)), AROUND, Service(0.0, 0.001, (0.0, 0.002)))
    assert upgraded == pytest.approx(0.0005 + 0.001 * np.arange(1, 6))
    assert taken == pytest.approx(0.0055 + 0.002 * np.arange(1, 6))


def test_each_proxy_has_a_queue_of_its_own() -> None:
    upgraded, _ = predict(_dials(np.zeros(4), kind=-1, links=2), AROUND, Service(0.01, 0.001, (0.0, 0.0)))
    assert upgraded == pytest.approx([0.0115, 0.0125, 0.0215, 0.0225])


def test_other_work_that_came_together_is_done_first() -> None:
    """Three ends of connections of one moment, done at 1, 2 and 3 ms: a dial in between waits for the last."""
    around = AROUND._replace(done=np.array([0.001, 0.002, 0.003]), other=0.001)
    upgraded, _ = predict(_dials(np.array([0.0003]), kind=-1), around, Service(0.0, 0.004, (0.0, 0.0)))
    assert upgraded == pytest.approx([0.007])


@pytest.mark.parametrize(
    "service",
    [
        Service(0.003, 0.0005, (0.0004, 0.0003)),
        Service(0.0005, 0.003, (0.0004, 0.0003)),
        Service(0.0005, 0.0005, (0.002, 0.003)),
        Service(0.001, 0.001, (0.001, 0.001)),
    ],
    ids=["the proxy is the slowest", "handshakes are", "resumes are", "all alike"],
)
def test_every_service_time_is_found_apart(service: Service) -> None:
    """Whichever station holds a herd back."""
    seen = _seen(_herds(1), service)
    found = nearest([seen], KINDS)
    assert found is not None
    assert found.values == pytest.approx(service.values, rel=0.02)
    assert tells_apart([seen], found)


def test_noise_moves_no_service_time_far() -> None:
    """Times that are seen up to a millisecond late: the slower station is known best."""
    service, chance = Service(0.003, 0.001, (0.0005, 0.0005)), np.random.default_rng(2)
    dials, around = _seen(_herds(2), service)
    late = dials._replace(
        upgraded=dials.upgraded + chance.uniform(0, 0.0005, len(dials.kind)),
        taken=dials.taken + chance.uniform(0, 0.001, len(dials.kind)),
    )
    found = nearest([SeenRun(late, around)], KINDS)
    assert found is not None
    assert found.relay == pytest.approx(service.relay, rel=0.05)
    assert found.relay + found.handshake == pytest.approx(service.relay + service.handshake, rel=0.15)


def test_dials_that_meet_no_other_one_tell_only_a_sum() -> None:
    service = Service(0.003, 0.001, (0.0005, 0.0005))
    seen = _seen(_dials(np.arange(20) / 4.0), service)
    found = nearest([seen], KINDS)
    assert found is not None
    assert found.relay + found.handshake == pytest.approx(0.004, rel=0.02)
    assert not tells_apart([seen], found)


def test_nothing_seen_tells_nothing() -> None:
    unseen = SeenRun(_dials(np.zeros(3)), AROUND)
    assert nearest([unseen], KINDS) is None
    assert distance([unseen], Service(0.001, 0.001, (0.001, 0.001))) == np.inf
