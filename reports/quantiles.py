"""Quantiles of Student's t, chi-squared and the normal distribution. Knows no data.

They are ``scipy.stats``' own formulas on ``scipy.special``: importing ``scipy.stats`` would cost half a second, a
quarter of what the report of a small run takes.
"""

from __future__ import annotations

from scipy import special


def t_quantile(probability: float, freedom: float) -> float:
    """The value that Student's t with so many degrees of freedom does not exceed with this probability.

    NaN without a degree of freedom.
    """
    return float(special.stdtrit(freedom, probability)) if freedom > 0 else float("nan")


def chi2_quantile(probability: float, freedom: float) -> float:
    """The value that chi-squared with so many degrees of freedom does not exceed with this probability."""
    return 2.0 * float(special.gammaincinv(freedom / 2.0, probability))


def normal_quantile(probability: float) -> float:
    """The value that a standard normal number does not exceed with this probability."""
    return float(special.ndtri(probability))
