"""Questions for people as Label Studio's tasks, and its exports read back. Pure; the formats are Label Studio's own.

Import: https://labelstud.io/guide/tasks (Basic Label Studio JSON); export: https://labelstud.io/guide/export (JSON and
JSON-MIN).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import msgspec

from askance.records import ABSTENTION, Coordinates, HumanAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from askance.records import Question

_CHOICES, _TEXT = "label", "text"


class Unreadable(Exception):  # noqa: N818 - said as the reason why a task is skipped
    """A task that holds no usable answer; its message says why."""


def interface(labels: Sequence[str], descriptions: Mapping[str, str], *, abstains: bool) -> str:
    """The labelling interface of a project for such tasks, as XML."""
    choices = [
        f"    <Choice value={quoteattr(label)}"
        + (f" hint={quoteattr(descriptions[label])}" if label in descriptions else "")
        + "/>"
        for label in (*labels, *([ABSTENTION] if abstains else []))
    ]
    return "\n".join(
        [
            "<View>",
            f'  <Text name="{_TEXT}" value="$text"/>',
            f'  <Choices name="{_CHOICES}" toName="{_TEXT}" choice="single-radio" required="true">',
            *choices,
            "  </Choices>",
            "</View>",
            "",
        ]
    )


def task(question: Question, *, suggests: bool) -> dict[str, object]:
    """One task; with `suggests`, people see what the teacher (or else the student) said, which sways them."""
    topic, partition, offset = question.coordinates
    data = {
        "text": question.text,
        "document_id": question.document_id,
        "topic": topic,
        "partition": partition,
        "offset": offset,
    }
    label, score, who = question.label, question.confidence, question.teacher
    if label is None:
        label, score, who = question.predicted, question.predicted_confidence, question.version
    if not suggests or label is None:
        return {"data": data}
    choice = {
        "id": "askance",
        "from_name": _CHOICES,
        "to_name": _TEXT,
        "type": "choices",
        "value": {"choices": [label]},
    }
    prediction = {"model_version": who or "", "result": [choice]} | ({} if score is None else {"score": score})
    return {"data": data, "predictions": [prediction]}


def answer(found: object, labels: Iterable[str], *, abstains: bool) -> HumanAnswer | None:
    """What people said in one task of an export, JSON or JSON-MIN; None when nobody has answered it yet.

    Of several annotations the one that is marked as ground truth counts, else what most say. Raises `Unreadable` for
    a task that is none of ours, a tie, or a choice outside the label set.
    """
    try:
        task = msgspec.convert(found, type=dict[str, Any])
        data = msgspec.convert(task.get("data", task), type=dict[str, Any])
        coordinates = Coordinates(
            *msgspec.convert([data[name] for name in ("topic", "partition", "offset")], type=tuple[str, int, int])
        )
        text = msgspec.convert(data["text"], type=str)
    except (msgspec.ValidationError, KeyError) as exc:
        msg = f"it is no task that askance exported: {exc}"
        raise Unreadable(msg) from exc
    votes = _votes(task) if "annotations" in task else _flat(task)
    if not votes:
        return None
    (raw, count), *others = Counter(votes).most_common()
    where = "/".join(map(str, coordinates))
    if others and others[0][1] == count:
        msg = f"{where}: people do not agree ({raw!r} or {others[0][0]!r})"
        raise Unreadable(msg)
    if raw == ABSTENTION and abstains:
        return HumanAnswer(coordinates, text, raw, None)
    if raw not in labels:
        msg = f"{where}: {raw!r} is no label"
        raise Unreadable(msg)
    return HumanAnswer(coordinates, text, raw, raw)


def _votes(task: Mapping[str, Any]) -> list[str]:
    found: list[tuple[bool, str]] = []
    for annotation in task["annotations"] if isinstance(task["annotations"], list) else []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        for result in results if isinstance(results, list) else []:
            if isinstance(result, dict) and result.get("type") == "choices":
                value = result.get("value")
                choices = value.get("choices") if isinstance(value, dict) else None
                if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], str):
                    found.append((bool(annotation.get("ground_truth")), choices[0]))
    true = [choice for is_true, choice in found if is_true]
    return true or [choice for _, choice in found]


def _flat(task: Mapping[str, Any]) -> list[str]:
    """JSON-MIN: the choice stands under the name of its control."""
    choice = task.get(_CHOICES)
    return [choice] if isinstance(choice, str) else []
