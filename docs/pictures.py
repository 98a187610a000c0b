"""Draws the pictures of the concept pages from the program's own functions: `make reference`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from askance.rules.estimate.mean import Guesses, estimate_agreement
from askance.rules.gate import Gate, Opening

FOLDER = Path(__file__).parent / "assets"
BLUE, GREY, RED = "#2563eb", "#64748b", "#dc2626"


def gate() -> None:
    """The propensity of every uncertainty, for three exponents and a floor."""
    u = np.linspace(0, 1, 201)
    _, axes = plt.subplots(figsize=(6, 3))
    for exponent, colour in ((1, GREY), (2, BLUE), (5, RED)):
        axes.plot(u, 0.02 + 0.98 * np.minimum(1, 0.6 * u**exponent), color=colour, label=f"g = {exponent}")
    axes.axhline(0.02, color=GREY, linestyle=":", linewidth=1)
    axes.set(xlabel="uncertainty u", ylabel="propensity q", ylim=(0, 1), title="e = 0.02, s = 0.6")
    axes.legend(frameon=False)
    save("gate")


def estimates(runs: int = 60, documents: int = 20_000, classes: int = 20) -> None:
    """Of many runs over one simulated stream: the naive share of agreement, and the weighted estimate."""
    random = np.random.default_rng(0)
    logits = (random.normal(0, 1, (documents, classes)) * random.gamma(2, 4.0, (documents, 1))).astype(np.float32)
    right = np.zeros(documents, dtype=np.bool_)
    naive, weighted = [], []
    for seed in range(runs):
        coordinates = [("stream", 0, offset) for offset in range(documents)]
        decisions = Gate(seed=seed).decide(
            logits,
            temperature=1.0,
            opening=Opening(0.005, 0.15),
            coordinates=coordinates,  # type: ignore[arg-type]
        )
        if seed == 0:
            # A student somewhat surer than it is right.
            right = random.random(documents) < decisions.confidences**1.3
        took, q = decisions.accepted, decisions.propensities
        guesses = Guesses(decisions.confidences[took], float(decisions.confidences.sum()), documents)
        estimate = estimate_agreement(right[took], q[took], guesses=guesses)
        naive.append(right[took].mean())
        weighted.append(estimate.value if estimate else np.nan)
    _, axes = plt.subplots(figsize=(6, 3))
    bins = np.linspace(0, 1, 101)
    axes.hist(naive, bins, color=GREY, label="share of the labels that agree")
    axes.hist(weighted, bins, color=BLUE, label="weighted estimate")
    axes.axvline(right.mean(), color=RED, label="truth")
    axes.set(xlabel="agreement with the teacher", ylabel=f"of {runs} runs", xlim=(0.2, 1))
    axes.legend(frameon=False)
    save("estimates")


def save(name: str) -> None:
    """As SVG, the same bytes for the same picture."""
    FOLDER.mkdir(exist_ok=True)
    plt.gca().spines[["top", "right"]].set_visible(False)
    plt.tight_layout()
    plt.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    plt.close()


if __name__ == "__main__":
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "askance"
    gate()
    estimates()
