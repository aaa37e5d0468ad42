"""The pictures of a validation: data in, a chart with its words out. Judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from reports import formatting, plots
from reports.charts import Chart, report_style, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .validation import ExperimentLine, Prediction, Validation

_COLUMNS = 3
_HELD, _MISSED = "#009e73", "#d55e00"


def charts(validation: Validation) -> list[Chart]:
    """Every chart for which the validation has data."""
    lines = [line for line in validation.lines if line.measured_quantiles]
    known = [each for each in validation.predictions if each.covers is not None]
    with report_style():
        drawn = [_quantiles(lines)] if lines else []
        if known:
            drawn.append(_coverage(known))
    return drawn


def _quantiles(lines: list[ExperimentLine]) -> Chart:
    rows = -(-len(lines) // _COLUMNS)
    fig = Figure(figsize=(10, 3.4 * rows), layout="constrained")
    grid = fig.subplots(rows, _COLUMNS, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(lines):
            _quantile_plot(lines[place], axes)
        else:
            axes.set_axis_off()
    said = "; ".join(
        f"{line.experiment}: median {formatting.seconds(line.measured_quantiles[49])} measured, "
        f"{formatting.seconds(line.predicted_quantiles[49])} predicted"
        for line in lines
    )
    return Chart(
        "Quantiles of the excess, measured and predicted",
        "One dot for each percent from 1 to 99. On the dashed line both are equal; above it the model is slower than "
        "the real run.",
        f"Quantile against quantile of {len(lines)} experiments. {said}.",
        svg_of(fig),
    )


def _quantile_plot(line: ExperimentLine, axes: Axes) -> None:
    limit = max(*line.measured_quantiles, *line.predicted_quantiles) * 1.05 or 1.0
    axes.plot([0, limit], [0, limit], color=plots.INK, linewidth=1, linestyle="dashed")
    axes.plot(line.measured_quantiles, line.predicted_quantiles, "o", color=plots.PALETTE[0], markersize=3.5)
    axes.set_title(line.experiment)
    axes.set_xlabel("measured, s")
    axes.set_ylabel("predicted, s")
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)


def _coverage(predictions: list[Prediction]) -> Chart:
    fig = Figure(figsize=(10, 0.9 + 0.22 * len(predictions)), layout="constrained")
    axes = fig.add_subplot()
    for y, each in enumerate(predictions):
        _interval(y, each, axes)
    axes.set_yticks(range(len(predictions)), [f"{each.run}: {each.metric}" for each in predictions])
    axes.set_ylim(len(predictions) - 0.5, -0.5)
    axes.axvline(1.0, color=plots.INK, linewidth=1, linestyle="dashed")
    axes.set_xlabel("part of the measured value")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    held = sum(bool(each.covers) for each in predictions)
    missed = ", ".join(f"{each.run}: {each.metric}" for each in predictions if not each.covers) or "none"
    return Chart(
        "Prediction intervals of each run",
        "Each line is the interval that the model predicts, as a part of what was measured (dashed). Green dot: it "
        "holds the measured value; orange cross: it does not.",
        f"{held} of {len(predictions)} intervals hold the measured value. Not held: {missed}.",
        svg_of(fig),
    )


def _interval(y: int, each: Prediction, axes: Axes) -> None:
    base = each.measured or 1.0
    low, high = (each.low or 0.0) / base, (each.high or 0.0) / base
    colour, mark = (_HELD, "o") if each.covers else (_MISSED, "X")
    axes.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt")
    axes.plot([1.0], [y], mark, color=colour, markersize=5)
