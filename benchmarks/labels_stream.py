"""One stream under one policy: the product's gate, budgets, seed sets, committees, schedule and selection, in memory.

The loop is that of the workers without their delays: batches are scored by the live student, coins are tossed with the
recorded propensities, the teacher's answers come at once, and students are trained when the schedule says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from encoder import embed
from labels_students import Answering, Recipe, hashed, train

from askance._kernel import HashedFeaturizer
from askance.records import Coordinates
from askance.rules.budget import ShareBudget, Unlimited
from askance.rules.committee import disagreement
from askance.rules.gate import Gate
from askance.rules.retraining import RetrainingSchedule
from askance.rules.seeding import SeedSet
from askance.rules.selection import SelectionRule, select
from askance.rules.split import is_held_out, text_uniform

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 128
FIRST_AT = 64
ADVANCE = 100
HORIZON = 5_000
TEACHERS = {"banking77": "qwen3_30b_a3b_fewshot", "stackoverflow20": "llama3.2-3b", "clinc150": "llama3.2-3b"}
"""The recorded LLM of each set that has one."""


class Stream(NamedTuple):
    """A set: N documents, of which the test fifth is never asked about."""

    name: str
    texts: list[str]
    x: Any
    """(N, d) features, dense or sparse."""
    gold: Any
    answers: Any
    """(N,) the teacher's class, -1 where its answer is none."""
    confidences: Any
    """(N,) the teacher's, NaN where unknown."""
    folds: Any
    """(N,) 0 to 4, by text: those of fold 0 calibrate."""
    pool: Any
    test: Any
    classes: int


@dataclass(frozen=True)
class Policy:
    """Whom to ask about, and what to make of the answers; the defaults are the product's."""

    name: str
    measure: str = "entropy"
    """`random`: a share of the stream, every document as likely."""
    exponent: float = 1.0
    unlimited: bool = False
    """M-RARU as published, without a budget."""
    floor_part: float = 0.05
    """Of the share, spread evenly."""
    growth: float = 1.3
    seed_documents: int = 0
    selection: bool = False
    """LLKD-style."""
    pseudo: bool = False
    """Self-training: documents that were not asked about, with the student's own confident answers, at weight 0.3."""
    ramp: bool = False
    """Spend late: the share rises in proportion to the documents seen, from nothing to twice the share."""
    recipe: Recipe = field(default_factory=Recipe)
    baseline: str = "random"
    """The policy whose labels are the measure: random sampling with the same student."""


class Point(NamedTuple):
    """What a run is after so many calls."""

    calls: int
    accuracy: float
    balanced: float
    worth: float | None = None
    """A label's weight in an estimate of the live accuracy: variance of as many labels drawn uniformly, over the
    variance of these; from the last fifth of the stream. None: nothing was drawn by a student."""


def load(folder: Path, name: str, *, teacher: str, features: str) -> Stream:
    """`teacher` is gold or llm, `features` encoder or hashed."""
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
    texts = [row["text"] for row in rows]
    place = {label: index for index, label in enumerate(sorted({row["gold"] for row in rows}))}
    gold = np.array([place[row["gold"]] for row in rows])
    answers, confidences = gold, np.full(len(rows), np.nan)
    if teacher == "llm":
        given = [next((one for one in row["teachers"] if one["model"] == TEACHERS[name]), None) for row in rows]
        answers = np.array([place.get(one["label"], -1) if one else -1 for one in given])
        confidences = np.array(
            [np.nan if one is None or one["confidence"] is None else one["confidence"] for one in given], dtype=float
        )
    test = np.array([is_held_out(text, 0.2) for text in texts])
    folds = np.array([int(5 * text_uniform(text, purpose="inner-0")) for text in texts])
    x = embed(texts, name=name) if features == "encoder" else hashed(texts)
    return Stream(
        name, texts, x, gold, answers, confidences, folds, np.flatnonzero(~test), np.flatnonzero(test), len(place)
    )


def at_random(stream: Stream, policy: Policy, share: float, seed: int) -> Point:
    """What a share of the stream teaches that was drawn uniformly."""
    order = np.random.default_rng(seed).permutation(stream.pool)
    rows = order[: round(share * len(order))]
    run = Run(stream, policy, seed)
    run.asked = rows.tolist()
    run.scores = [(1.0, share)] * len(rows)
    run.train(seen=order, last=True)
    return run.judge()


def play(stream: Stream, policy: Policy, share: float, seed: int) -> list[Point]:
    """The whole stream in an order of the seed's; the last point, or without a budget one per training."""
    return Run(stream, policy, seed).play(share)


class Run:
    """What has been asked so far, and the students trained on it."""

    def __init__(self, stream: Stream, policy: Policy, seed: int) -> None:
        self.stream = stream
        self.policy = policy
        self.seed = seed
        self.asked: list[int] = []
        self.scores: list[tuple[float, float]] = []
        self.students: list[Answering] = []

    def play(self, share: float) -> list[Point]:
        """See `play`."""
        stream, policy = self.stream, self.policy
        votes = policy.measure if policy.measure in ("vote_entropy", "consensus_kl") else None
        gate = Gate(measure="entropy" if votes else policy.measure, exponent=policy.exponent, seed=self.seed)  # type: ignore[arg-type]
        budget = Unlimited(floor=0.0) if policy.unlimited else self._budget(share)
        schedule = RetrainingSchedule(
            first_at=FIRST_AT, growth=policy.growth, every=None, every_seconds=None, labels=0, now=0.0
        )
        seeds = None
        if policy.seed_documents:
            seeds = SeedSet(HashedFeaturizer().transform, documents=policy.seed_documents, size=ADVANCE)
        order = np.random.default_rng(self.seed).permutation(stream.pool)
        points, variance, drawn, right = [], 0.0, 0, []
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            coordinates = [Coordinates(stream.name, 0, offset) for offset in range(start, start + len(rows))]
            if policy.ramp and not policy.unlimited:
                now = share * min(2.0, 2.0 * (start + BATCH) / len(order))
                budget = self._budget(now, documents=start, accepted=round(now / 2 * start))
            opening = budget.opening(len(rows), now=0.0, blind=not self.students)
            if not self.students:
                picked = seeds.pick([stream.texts[row] for row in rows]) if seeds and not seeds.is_done else None
                if picked is not None:
                    opening = opening._replace(scale=0.0)
                drawing = gate.draw(opening, coordinates, chosen=picked)
                accepted, propensities = drawing.accepted, drawing.propensities
                uncertainties = np.ones(len(rows), dtype=np.float32)
            else:
                student = self.students[-1]
                logits = student.logits(stream.x[rows])
                committee = None
                if votes and len(self.students) > 1:
                    members = [student, *self.students[-3:-1]]
                    scored = [logits, *(member.logits(stream.x[rows]) for member in members[1:])]
                    committee = disagreement(scored, [member.temperature for member in members], votes)  # type: ignore[arg-type]
                decided = gate.decide(
                    logits,
                    temperature=student.temperature,
                    opening=opening,
                    coordinates=coordinates,
                    disagreement=committee,
                )
                accepted, propensities, uncertainties = decided.accepted, decided.propensities, decided.uncertainties
                if start >= 0.8 * len(order):
                    correct = decided.labels == stream.gold[rows]
                    q = propensities.astype(np.float64)
                    variance += float(((1.0 / q - 1.0) * (correct - decided.confidences) ** 2).sum())
                    drawn += int(accepted.sum())
                    right += correct.tolist()
            budget.spent(uncertainties, int(accepted.sum()))
            self.asked += rows[accepted].tolist()
            self.scores += zip(uncertainties[accepted].tolist(), propensities[accepted].tolist(), strict=True)
            valid = int((stream.answers[self.asked] >= 0).sum())
            if schedule.due(valid, 0.0):
                self.train(seen=order[: start + BATCH])
                schedule.trained(valid, 0.0)
                if policy.unlimited and self.students:
                    points.append(self.judge())
        self.train(seen=order, last=True)
        worth = None
        if drawn and variance > 0.0:
            accuracy = float(np.mean(right))
            # n uniformly drawn labels give the sum over N documents a variance of N^2 p (1 - p) / n.
            worth = len(right) ** 2 * accuracy * (1.0 - accuracy) / (drawn * variance)
        return [*points, self.judge()._replace(worth=worth)]

    def _budget(self, share: float, *, documents: int = 0, accepted: int = 0) -> ShareBudget:
        return ShareBudget(
            share=share,
            floor=share * self.policy.floor_part,
            exponent=self.policy.exponent,
            advance=ADVANCE,
            horizon=HORIZON,
            documents=documents,
            accepted=accepted,
        )

    def train(self, *, seen: Any, last: bool = False) -> None:
        """The next student, on everything that was asked so far and answered validly; the `last` one is only judged."""
        stream, policy = self.stream, self.policy
        recipe = policy.recipe
        if last:
            recipe = recipe._replace(calibrated=policy.pseudo and recipe.calibrated, tolerance=1e-4)
        asked = np.array(self.asked)
        valid = stream.answers[asked] >= 0
        rows, scores = asked[valid], np.array(self.scores)[valid]
        targets = stream.answers[rows]
        weights = np.ones(len(rows))
        if policy.selection:
            selection = select(
                targets=targets,
                confidences=stream.confidences[rows],
                uncertainties=scores[:, 0],
                propensities=scores[:, 1],
                rule=SelectionRule(),
            )
            weights = np.where(selection.kept, selection.weights, 0.0)
        start = self.students[-1] if self.students else None
        student = self._fit(rows, targets, weights, start, recipe)
        if policy.pseudo and student is not None:
            rest = seen[-15_000:]
            rest = rest[~np.isin(rest, asked)][-5_000:]
            scaled = student.logits(stream.x[rest]) / student.temperature
            scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            sure = scaled.max(axis=1) >= 0.7 * scaled.sum(axis=1)
            both = np.concatenate([rows, rest[sure]])
            named = np.concatenate([targets, scaled.argmax(axis=1)[sure]])
            weights = np.concatenate([weights, np.full(int(sure.sum()), 0.3)])
            plain = recipe._replace(calibrated=False)
            again = self._fit(both, named, weights / weights.mean(), student, plain)
            student = student if again is None else again._replace(temperature=student.temperature)
        if student is not None:
            self.students.append(student)

    def _fit(self, rows: Any, targets: Any, weights: Any, start: Answering | None, recipe: Recipe) -> Answering | None:
        stream = self.stream
        return train(
            stream.x[rows],
            targets,
            classes=stream.classes,
            recipe=recipe,
            folds=stream.folds[rows],
            start=start,
            weights=weights,
        )

    def judge(self) -> Point:
        """The newest student on the test fifth, against gold."""
        test, gold = self.stream.test, self.stream.gold[self.stream.test]
        right = self.students[-1].logits(self.stream.x[test]).argmax(axis=1) == gold
        recalls = [right[gold == label].mean() for label in np.unique(gold)]
        return Point(len(self.asked), float(right.mean()), float(np.mean(recalls)))
