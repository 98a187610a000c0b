"""The model that answers: what it is, how it is trained, and when it is taken back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from askance.config.base import Positive, Section, Share


class EncoderConfig(Section):
    """A frozen sentence encoder, whose vectors students learn from where `student.features` is `encoder`."""

    model: str | None = None
    """A local folder, or a name on the Hugging Face hub, with `tokenizer.json` and an ONNX graph or BERT's weights."""
    max_tokens: Annotated[int, Field(ge=2, le=8192)] = 128
    """Documents are cut to so many tokens."""


class TransformerConfig(Section):
    """How `student.kind: transformer` is fine-tuned."""

    model: str = "distilbert-base-uncased"
    """Any sequence classifier of Hugging Face with a fast tokenizer: a local folder, or a name on the hub."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 128
    """Documents are cut to so many tokens."""
    start: Literal["scratch", "champion"] = "champion"
    """Fine-tune the model as it comes, or go on from the live version, which then keeps its weights (as large again as
    its graph). Labels that are new begin as drawn; ones that were renamed go on."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Passes over the labels at most."""
    patience: Annotated[int, Field(ge=1)] = 2
    """End when so many passes have not lowered the loss on a fifth of the labels, which is not learnt from."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 16
    """Documents a step."""
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 5e-5
    """The highest; it rises over a tenth of the steps and then falls to 0."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processor cores that a training without a GPU takes from the stream."""
    int8: bool = False
    """Serve it with matrices of 8 bits, if the holdout shows that it gives the same answer to 99.5 % of the documents.
    A document's logits then depend on its neighbours, so a decision cannot be computed again to the bit."""


class StudentConfig(Section):
    """The model that answers."""

    kind: Literal["logistic", "svm", "lda", "rf", "gbdt", "transformer"] = "logistic"
    """The student family: multinomial logistic regression, a linear support vector machine, linear discriminant
    analysis, a random forest, gradient-boosted trees, or a transformer that is fine-tuned. `lda`, `rf` and `gbdt` take
    a truncated SVD of the hashed features."""
    features: Literal["hashed", "encoder"] = "hashed"
    """What the student learns from: hashed word n-grams, or the vectors of a frozen sentence encoder, which knows the
    language from the start but takes far longer a document."""
    encoder: EncoderConfig = EncoderConfig()
    transformer: TransformerConfig = TransformerConfig()
    bits: Annotated[int, Field(ge=8, le=24)] = 18
    """Features are hashed to 2^bits buckets."""
    ngram_max: Annotated[int, Field(ge=1, le=5)] = 2
    """Word n-grams up to this length."""


class SelectionConfig(Section):
    """LLKD-style: which of the paid labels are learnt from, and how much each counts."""

    kind: Literal["none", "llkd"] = "none"
    """`none`: all, alike; the gate has selected already. `llkd`: what the teacher is sure of and the student is not, by
    the parts below; without any known confidence of the teacher only the importance weight is left."""
    by_confidence: bool = True
    """Drop a label whose teacher's confidence is below the moving threshold."""
    by_uncertainty: bool = True
    """Drop a label whose student's uncertainty is below the moving threshold."""
    per_class: bool = True
    """Lower both thresholds for classes of which teacher or student is less sure, or less unsure, than of others."""
    weighted: bool = True
    """Weigh a label by confidence times uncertainty, each class alike."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Weight of the past in the thresholds, which every 64 labels move."""
    importance: bool = True
    """Weigh a label by (1/propensity)^exponent as well."""
    importance_exponent: Share = 0.5
    """1 undoes the gate's preference, but cuts the effective sample size; 0.5 is the middle."""
    importance_cap: Annotated[float, Field(ge=1.0)] = 10.0
    """The largest importance weight, before weights are made to average 1."""
    uncertainty: Literal["recorded", "champion"] = "recorded"
    """The student's uncertainty as it was when the document came, or as the live version sees it now."""


class AugmentConfig(Section):
    """PGKD-style: the teacher writes documents for the classes the student is weakest on; local runs, and the teacher
    `openai`, only."""

    enabled: bool = False
    """After a training, have documents written, checked by a second call, and train on those that pass."""
    rounds: Annotated[int, Field(ge=1)] = 3
    """Rounds after a training at most; each writes, checks, trains and compares on the held-out labels."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Rounds without a better version before it is given up; the best version stays."""
    classes: Annotated[int, Field(ge=1)] = 3
    """Written for so many classes a round, the weakest by F1 on the held-out labels."""
    documents: Annotated[int, Field(ge=1)] = 30
    """Written in a round at most, over all its classes; each costs a second call that checks it."""
    document_tokens: Annotated[int, Field(ge=8)] = 120
    """The longest document that is asked for, in tokens: what a call may cost is counted by it."""
    money: Annotated[float, Field(ge=0.0)] | None = None
    """What all augmentation with this state may cost, within the caps of `spend`."""
    calls: Annotated[int, Field(ge=0)] | None = 500
    """How many calls all augmentation with this state may take, within the caps of `spend`."""


class TrainConfig(Section):
    """When and how students are trained."""

    first_at: Annotated[int, Field(ge=2)] = 64
    """Labels before the first training."""
    growth: Annotated[float, Field(ge=1.0)] = 1.3
    """Train again when the labels have grown by this factor."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Train again every so many new labels, instead of geometrically."""
    every_seconds: Positive | None = None
    """Also train when so much time has passed and there is any new label."""
    holdout_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Part of the labels, chosen by document text, that is never trained on."""
    promote: Literal["unless_worse", "not_worse_by", "improves"] = "unless_worse"
    """What makes a new version the live one: that the held-out labels do not show it to be worse, that they show it to
    be worse by less than `train.not_worse_by`, or that they show it to be better."""
    not_worse_by: Share = 0.005
    """Agreement that the rule `not_worse_by` may at most give up."""
    rollout: Literal["direct", "shadow", "canary"] | None = None
    """How a version that was found fit goes live: at once; after it has scored the live stream without answering; or
    after it has answered a share of it. Default: `direct`, under a contract `shadow`."""
    rollout_documents: Annotated[int, Field(ge=100)] = 10_000
    """Documents a shadow has to score, or a canary to answer, before `train.promote` is applied to their labels."""
    canary_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Part of the keys whose documents a canary answers; a document without a key goes by its identifier."""
    newest: Annotated[int, Field(ge=100)] = 200_000
    """Labels that a training takes at most, the newest ones: its memory does not grow for ever."""
    keep_versions: Annotated[int, Field(ge=2)] = 50
    """Versions that are kept at most. The live one, the one on trial, those it may be taken back to, and the parents of
    all these always are."""
    parity_tolerance: Positive = 1e-4
    """A version is refused when any probability on the holdout differs from the trained model's by more."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """For whatever in training is random."""
    selection: SelectionConfig = SelectionConfig()
    augment: AugmentConfig = AugmentConfig()


class GuardConfig(Section):
    """When the live version is taken back, and when a drift of the stream is told. The train worker looks."""

    enabled: bool = True
    """Go back to the version before the live one as soon as that one is shown to be worse than what it was promoted
    on, scores documents with numbers that are none, or answers quite differently than the one before it."""
    tolerance: Share = 0.02
    """Agreement that the live version may lie below what it was promoted on."""
    jump: Share = 0.4
    """Largest change of the class shares from one version to the next, in total variation (the part of the documents
    whose answer would have to change), unless the held-out labels showed the next one to be better. Of sound versions
    trained on 100, 200, 400 and more labels of three real sets none changed by more than 0.36."""
    documents: Annotated[int, Field(ge=100)] = 4096
    """Class shares are compared between so many documents, for jumps and for drift."""
    drift: Share = 0.1
    """Change that makes a drift alarm: of the class shares or the uncertainties, in total variation; a fall of the
    agreement with the teacher; a rise of the share of words that the version's first documents did not have."""
    miss: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """Probability that a version's stream which does not change ever raises a drift alarm."""
    drift_floor: Share | None = None
    """Exploration floor after a drift alarm, while `guard.drift_seconds` last, so that the change is learnt soon; 0
    leaves it. Default: half of `budget.share`."""
    drift_seconds: Annotated[float, Field(ge=0.0)] = 600.0
    """How long the floor stays raised. A drift alarm also triggers a training once `train.first_at` new labels came."""
    interval_seconds: Positive = 2.0
    """How often to look."""
