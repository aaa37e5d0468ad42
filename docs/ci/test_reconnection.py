"""An example of the pytest plugin: copy it next to your tests, and run ``pytest test_reconnection.py``."""

from __future__ import annotations

import pytest

from chaos.pytest_plugin import ChaosRunner


@pytest.mark.chaos(experiment="smoke", lane="virtual", seed=3, overrides=["client.preset=window"])
def test_participants_survive_short_network_failures(chaos_run: ChaosRunner) -> None:
    """The marker says what is run; a run that does not pass fails the test with its reasons."""
    outcome = chaos_run()
    outcome.assert_passed()
    # Any figure of the report can be asked for; see docs/reports.md.
    assert outcome.summary.success_rate.restored == outcome.summary.success_rate.affected == 30
    assert (outcome.summary.excess_s.restricted_high or 99.0) < 2.0
