"""Learning curves of the experiment on labels: means, intervals, the fraction of random's labels, and the charts."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import t

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labels_stream import Point
    from numpy.typing import NDArray

RESAMPLES = 400


class Curve(NamedTuple):
    """Steps by seeds, ascending in calls; every array is (steps, seeds)."""

    calls: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    balanced: NDArray[np.float64]

    @property
    def steps(self) -> NDArray[np.float64]:
        """(steps,) mean calls."""
        return self.calls.mean(axis=1)


def curve(runs: Sequence[Sequence[Point]]) -> Curve:
    """Of the seeds' points, step by step; steps that not every seed has are left out, but for the last one."""
    steps: dict[int, list[Point]] = defaultdict(list)
    shortest = min(len(points) for points in runs)
    for points in runs:
        for step, point in enumerate([*points[: shortest - 1], points[-1]]):
            steps[step].append(point)
    columns = [np.array([[getattr(p, name) for p in steps[step]] for step in sorted(steps)]) for name in Curve._fields]
    return Curve(*(column.astype(np.float64) for column in columns))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of the seeds and the half width of its 95 % interval (Student's t)."""
    n = len(values)
    if n < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def calls_to_reach(target: float, calls: NDArray[np.float64], accuracy: NDArray[np.float64]) -> float:
    """The calls at which the rising curve through the points reaches `target`; infinite where it never does.

    The curve is the isotonic regression of the mean accuracies, linear in the logarithm of the calls: the first of
    many noisy points to touch the target would flatter. Below the first point nothing is claimed.
    """
    logs = np.log(calls)
    rising = isotonic_regression(accuracy).x
    above = np.flatnonzero(rising >= target)
    if not len(above):
        return float("inf")
    first = int(above[0])
    if first == 0:
        return float(calls[0])
    low, high = rising[first - 1], rising[first]
    part = (target - low) / (high - low)
    return float(np.exp(logs[first - 1] + part * (logs[first] - logs[first - 1])))


def fraction(policy: Curve, random: Curve, budget: int) -> tuple[float, float, float]:
    """Calls the policy needs for the accuracy of random's step `budget`, over that step's calls, with a 95 % interval.

    The interval is the bootstrap's over seeds; both curves come from the same streams, seed by seed.
    """

    def once(seeds: NDArray[np.int64]) -> float:
        target = random.accuracy[budget, seeds].mean()
        needed = calls_to_reach(target, policy.calls[:, seeds].mean(axis=1), policy.accuracy[:, seeds].mean(axis=1))
        return needed / float(random.calls[budget, seeds].mean())

    seeds = min(policy.calls.shape[1], random.calls.shape[1])
    generator = np.random.default_rng(0)
    drawn = np.sort([once(generator.integers(0, seeds, seeds)) for _ in range(RESAMPLES)])
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
    return once(np.arange(seeds)), float(low), float(high)


def draw(path: Path, title: str, curves: dict[str, Curve], teacher_calls: int) -> None:
    """A PNG: accuracy and balanced accuracy over calls, mean and 95 % interval."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot, ticker

    figure, panes = pyplot.subplots(1, 2, figsize=(13, 5.5), sharex=True)
    colours = pyplot.get_cmap("tab20")
    for pane, measure in zip(panes, ("accuracy", "balanced"), strict=True):
        heights = []
        for index, (name, one) in enumerate(curves.items()):
            means, widths = np.array([interval(step) for step in getattr(one, measure)]).T
            colour = "black" if name == "random" else colours(index % 20)
            pane.plot(one.steps, means, marker=".", label=name, lw=2.0 if name == "random" else 1.2, color=colour)
            pane.fill_between(one.steps, means - widths, means + widths, color=colour, alpha=0.1, lw=0.0)
            heights += means.tolist()
        # Few seeds have wide intervals: the curves should still fill the picture.
        spread = max(heights) - min(heights)
        pane.set_ylim(min(heights) - 0.05 * spread, max(heights) + 0.1 * spread)
        pane.axvline(teacher_calls, color="grey", lw=0.6, ls=":")
        pane.set(xscale="log", xlabel="teacher calls", ylabel="balanced accuracy" if measure == "balanced" else measure)
        pane.grid(alpha=0.3)
        pane.xaxis.set_minor_formatter(ticker.NullFormatter())
        pane.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        pane.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    panes[1].legend(fontsize=8, loc="lower right")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
