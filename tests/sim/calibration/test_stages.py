"""The stages of dials on shared processors: their times by hand, and what each thread's queue does to the others."""

from __future__ import annotations

import numpy as np
import pytest

from sim.calibration.stages import JOIN, RESUME, Dials, Ends, SeenRun, Surroundings, WorkCosts, predict, seen

WORK = WorkCosts(
    connect=0.001,
    client_loss=0.0,
    client_dial=0.002,
    client_message=0.0005,
    relay=0.003,
    handshake=0.004,
    join=0.006,
    restore=0.005,
    commit=0.007,
    commit_wait=0.003,
    reply=0.0025,
    detach=0.0,
)
NONE = Ends(np.empty(0), np.empty(0, np.int64))


def _run(
    began: list[float],
    kinds: list[int],
    *,
    ends: Ends = NONE,
    others: tuple[float, ...] = (),
    refused: tuple[int, ...] = (),
    links: int = 1,
    processes: int = 1,
    processors: int = 0,
) -> SeenRun:
    """Dials that are answered at once after they were served; one way takes 10 ms, a frame no time."""
    n, number = len(began), np.arange(len(began))
    nothing, zero = np.full(n, np.nan), np.zeros(n)
    dials = Dials(
        began=np.array(began),
        process=number % processes,
        link=number % links,
        refused=np.where(np.isin(number, refused), np.array(began) + 0.003, np.nan),
        opened=nothing,
        served=zero,
        back=nothing,
        kind=np.array(kinds, np.int64),
    )
    return SeenRun(dials, ends, np.array(others), Surroundings(processors, 0.010, 0.0), np.ones(n, bool))


def test_a_dial_that_meets_no_other_one_takes_the_sum_of_its_stages() -> None:
    """By hand: 2 + 1 + 3 + 10 + 4 + 10 + 0.5 ms, then 10 and 5 or 6 ms, then 7 + 2.5 + 10 + 0.5 ms."""
    found = predict(_run([0.0, 1.0], [RESUME, JOIN]), WORK)
    assert found.until_open == pytest.approx([0.0305, 0.0305])
    assert found.until_served == pytest.approx([0.015, 0.016])
    assert found.until_back == pytest.approx([0.020, 0.020])


def test_two_dials_of_one_moment_pass_every_thread_in_turn() -> None:
    """The handshake is the slowest thread that both need for their opening."""
    found = predict(_run([0.0, 0.0], [-1, -1]), WORK)
    assert found.until_open == pytest.approx([0.0305, 0.0345])


def test_proxies_and_processes_of_clients_have_a_queue_each() -> None:
    """Two links: the server gets the second dial when the process has done it, 2 ms later, and not 3 ms later."""
    slow = WORK._replace(relay=0.008)
    one, two = (predict(_run([0.0, 0.0], [-1, -1], links=links), slow).until_open for links in (1, 2))
    assert one == pytest.approx([0.0355, 0.0435])
    assert two == pytest.approx([0.0355, 0.0395])
    apart = predict(_run([0.0, 0.0], [-1, -1], links=2, processes=2), slow).until_open
    assert apart == pytest.approx([0.0355, 0.0395])  # the server is the slower of the two queues that are left


def test_short_processors_make_every_thread_slower() -> None:
    """By hand: two processes dial at once on one processor in 4 ms, where two take 2 ms, and two proxies in 6 ms."""
    one, two = (predict(_run([0.0, 0.0], [-1, -1], links=2, processes=2, processors=m), WORK) for m in (1, 2))
    assert two.until_open == pytest.approx([0.0305, 0.0345])
    assert one.until_open == pytest.approx([0.0355, 0.0395])


@pytest.mark.parametrize("wait, until_back", [(0.003, 0.0265), (0.020, 0.0305)])
def test_a_commit_that_ends_while_the_server_works_waits_for_it_but_not_for_long(
    wait: float, until_back: float
) -> None:
    """By hand: it ends 52.5 ms after the dial, and three handshakes keep the server busy from 51 to 63 ms.

    The reply comes after all of them, or else, where the commit waits for 3 ms, after the second, at 59 ms.
    """
    run = _run([0.0, 0.035, 0.035, 0.035], [RESUME, -1, -1, -1], links=4, processes=4)
    assert predict(run, WORK._replace(commit_wait=wait)).until_back[0] == pytest.approx(until_back)


def test_a_refused_dial_takes_its_process_and_no_proxy() -> None:
    """By hand: its answer comes after 2 + 1 ms and is read after 4, when the process has dialled again.

    The dial after it waits for the process alone, not for the 3 ms of a proxy.
    """
    found = predict(_run([0.0, 0.0], [-1, -1], refused=(0,)), WORK)
    assert found.until_refused == pytest.approx([0.004, np.nan], nan_ok=True)
    assert found.until_open == pytest.approx([np.nan, 0.0325], nan_ok=True)


def test_a_commit_begins_when_all_replies_of_the_last_one_are_sent() -> None:
    """By hand: the first is served at 45.5, committed at 52.5, replied to at 55 ms; the second is served at 50.5 ms."""
    found = predict(_run([0.0, 0.0], [RESUME, RESUME], links=2, processes=2), WORK)
    assert found.until_served == pytest.approx([0.015, 0.016])
    assert found.until_back == pytest.approx([0.020, 0.0245])


def test_what_others_ask_for_is_committed_before_what_comes_meanwhile() -> None:
    """By hand: a commit from 44 to 51 ms; what is served at 45.5 ms is in the next one, until 58 ms."""
    found = predict(_run([0.0], [RESUME], others=(0.044,)), WORK)
    assert found.until_back == pytest.approx([0.0255])


def test_an_end_that_the_server_notices_takes_it_and_orders_no_commit() -> None:
    """By hand: 2 ms of work until 100 ms; what is served at 105.5 ms is committed at once, until 112.5 ms."""
    ends, work = Ends(np.array([0.1]), np.array([-1])), WORK._replace(detach=0.002)
    found = predict(_run([0.06], [RESUME], ends=ends), work)
    assert found.noticed == pytest.approx([0.1])
    assert found.until_back == pytest.approx([0.02])
    met = predict(_run([0.0585], [RESUME], ends=ends), work)
    assert met.until_served == pytest.approx([0.016])  # asked 1 ms before the server had noticed


def test_ends_that_are_noticed_together_have_come_together() -> None:
    """By hand: a process notices three ends 1 ms apart, and one later."""
    ends = Ends(np.array([0.101, 0.102, 0.103, 0.5]), np.zeros(4, np.int64))
    found = predict(_run([], [], ends=ends), WORK._replace(client_loss=0.001))
    assert found.noticed == pytest.approx([0.101, 0.102, 0.103, 0.5])
    slower = predict(_run([], [], ends=ends), WORK._replace(client_loss=0.0012))
    assert slower.noticed == pytest.approx([0.101, 0.1022, 0.1034, 0.5])


def test_dials_that_say_nothing_keep_threads_busy_and_are_not_compared() -> None:
    run = _run([0.0, 0.0], [-1, -1])
    measured = predict(run, WORK)
    shown = run._replace(
        dials=run.dials._replace(opened=run.dials.began + measured.until_open), said=np.array([False, True])
    )
    assert np.isnan(seen(shown).until_open[0])
    assert seen(shown).until_open[1] == pytest.approx(0.0345)
