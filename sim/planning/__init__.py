"""Plans from many simulations: sweeps over settings, capacity answers, tuning of the retry policy."""
