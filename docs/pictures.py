"""Draws the pictures of the concept pages from the program's own functions: `make pictures`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from askance.rules.contract import choose_threshold
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


def contract(runs: int = 400, labels: int = 1_000, target: float = 0.98) -> None:
    """Of many calibrations of one simulated student: how far what is then served agrees with the teacher in truth.

    Beside the contract's threshold the one that looks good enough on the same labels.
    """
    random = np.random.default_rng(0)

    def scored(documents: int) -> tuple[np.ndarray, np.ndarray]:
        """From the surest document on: how sure the student is, and how many were wrong so far."""
        confidences = -np.sort(-random.beta(4.0, 1.0, documents))
        return confidences, np.cumsum(random.random(documents) > confidences**0.3)

    sure, wrong = scored(1_000_000)
    looks_good, promised, served = [], [], []
    for _ in range(runs):
        confidences, errors = scored(labels)
        chosen = choose_threshold(confidences, np.diff(errors, prepend=0) > 0, np.ones(labels), target=target)
        lowest = confidences[errors <= (1 - target) * labels][-1]
        for threshold, found in ((lowest, looks_good), (chosen.confidence if chosen else 1.0, promised)):
            answered = int(np.searchsorted(-sure, -threshold, side="right"))
            found.append(1 - (wrong[answered - 1] / len(sure) if answered else 0.0))
        served.append(answered / len(sure))
    _, axes = plt.subplots(figsize=(6, 3))
    bins = np.linspace(0.965, 1, 71)
    for found, colour, name in ((looks_good, GREY, "as it looks"), (promised, BLUE, "the contract's")):
        kept = np.mean(np.array(found) >= target)
        axes.hist(found, bins, color=colour, alpha=0.8, label=f"{name}: kept in {100 * kept:.0f} % of the runs")
    axes.axvline(target, color=RED, label=f"promised: {target:g}, in 95 %")
    title = f"{labels:,} labels; under the contract the student answers {100 * np.mean(served):.0f} % itself"
    axes.set(xlabel="agreement of all answers served", ylabel=f"of {runs} runs", xlim=(bins[0], bins[-1]), ylim=(0, 45))
    axes.set_title(title, fontsize="medium")
    axes.legend(frameon=False)
    save("contract")


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
    contract()
