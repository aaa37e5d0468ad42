"""What clients did when, and how many of them at once."""

from __future__ import annotations

import numpy as np

from reports.series import acknowledgements, bin_edges, binned_quantile, errors, per_second, times_of
from reports.states import CONNECTED, GAVE_UP, JOINING, RECONNECTING, client_states
from resilience.eventlog.vocabulary import LogEventKind, Role

from ..support.log_builder import LogBuilder, experiment


def _one_lost_one_back() -> LogBuilder:
    history = LogBuilder(experiment(cohorts=("alpha", "beta")))
    history.join("a", 1.0).join("b", 2.0, "beta").fault("0.0:cut@alpha", 10.0, 10.0)
    history.lose("a", 10.0).back("a", 12.0)
    history.lose("b", 11.0).dial("b", 11.5).give_up("b", 13.0)
    return history.end(20.0)


def test_the_states_of_each_client_in_order() -> None:
    states = client_states(_one_lost_one_back().log())
    assert list(states.names) == ["a", "b"]
    assert list(states.cohort) == ["alpha", "beta"]
    kinds = {name: states.state[states.who == i].tolist() for i, name in enumerate(states.names)}
    assert kinds == {
        "a": [JOINING, CONNECTED, RECONNECTING, CONNECTED],
        "b": [JOINING, CONNECTED, RECONNECTING, GAVE_UP],
    }
    assert states.start[states.who == 0].tolist() == [1.0, 1.02, 10.0, 12.0]
    assert states.stop[states.who == 0].tolist() == [1.02, 10.0, 12.0, 20.0]
    assert states.stop[states.who == 1].tolist() == [2.02, 11.0, 13.0, 20.0]


def test_counts_within_a_bin_are_its_extremes() -> None:
    """Two are reconnecting for one second only: the bin of ten seconds shows both."""
    states = client_states(_one_lost_one_back().log())
    edges = np.asarray([0.0, 10.0, 20.0])
    low, high = states.extremes(RECONNECTING, edges)
    assert (low.tolist(), high.tolist()) == ([0, 0], [0, 2])
    low, high = states.extremes(CONNECTED, edges)
    assert (low.tolist(), high.tolist()) == ([0, 0], [2, 1])


def test_the_end_of_the_run_ends_no_state() -> None:
    """The last bin reaches beyond the run: its clients stay connected."""
    states = client_states(_one_lost_one_back().log())
    low, high = states.extremes(CONNECTED, np.asarray([15.0, 25.0]))
    assert (low.tolist(), high.tolist()) == ([1], [1])


def test_a_chosen_client_keeps_its_number() -> None:
    states = client_states(_one_lost_one_back().log()).of(np.asarray([1]))
    assert set(states.who.tolist()) == {1}
    assert states.names[1] == "b"


def test_a_run_without_clients_has_no_states() -> None:
    states = client_states(LogBuilder(experiment()).end().log())
    assert list(states.names) == []
    assert len(states.state) == 0


def test_the_first_acknowledgement_of_each_answer_counts() -> None:
    """A resent answer counts once, one that is never acknowledged has no latency."""
    history = LogBuilder(experiment()).join("a").join("b")
    history.client(5.0, "a", LogEventKind.ANSWER_SUBMITTED, ref="q1/x")
    history.client(6.0, "a", LogEventKind.ANSWER_SUBMITTED, ref="q1/x")
    history.client(7.0, "a", LogEventKind.ANSWER_ACKED, ref="q1/x")
    history.client(8.0, "a", LogEventKind.ANSWER_ACKED, ref="q1/x")
    history.client(5.5, "b", LogEventKind.ANSWER_SUBMITTED, ref="q1/x")
    acks = acknowledgements(history.end().log())
    assert acks.submitted.tolist() == [5.0, 5.5]
    assert acks.latency[0] == 2.0
    assert acks.missing.tolist() == [5.5]


def test_errors_by_cause_count_a_loss_once() -> None:
    """Both ends log a loss; the client's counts. Rare causes share the last series."""
    history = LogBuilder(experiment()).join("a").lose("a", 3.0).dial("a", 4.0)
    for i in range(9):
        for _ in range(9 - i):
            history.add(5.0, Role.SERVER, "server", LogEventKind.JOIN_SHED, cause=f"cause{i}")
    edges = bin_edges(10.0)
    found = errors(history.end(10.0).log(), edges)
    assert list(found.names[:2]) == ["join shed: cause0", "join shed: cause1"]
    assert found.names[-1] == "6 other causes"
    assert len(found.names) == 6
    assert found.totals.sum() == 45 + 2


def test_quantiles_per_bin_by_hand() -> None:
    values, times = np.asarray([3.0, 1.0, 2.0, 9.0]), np.asarray([0.1, 0.2, 0.3, 5.0])
    edges = np.asarray([0.0, 1.0, 2.0, 6.0])
    middle = binned_quantile(values, times, edges, 0.5)
    assert middle[[0, 2]].tolist() == [2.0, 9.0]
    assert np.isnan(middle[1])


def test_bins_cover_the_run_and_rates_are_per_second() -> None:
    edges = bin_edges(600.0)
    assert (len(edges), edges[0], edges[-1]) == (241, 0.0, 600.0)
    assert bin_edges(0.0).tolist() == [0.0, 0.25]
    assert per_second(np.asarray([0.1, 0.2, 0.6]), np.asarray([0.0, 0.5, 1.0])).tolist() == [4.0, 2.0]
    log = _one_lost_one_back().log()
    assert len(times_of(log, LogEventKind.TRANSPORT_OPENING)) == 4
