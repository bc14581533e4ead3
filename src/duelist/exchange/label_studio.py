"""Label Studio: a labelling configuration, tasks in pick order, and votes from its JSON or JSON-MIN export.

The configuration shows the pair with `Pairwise` and asks for the outcome with `Choices`, because `Pairwise` alone has
no tie. A click on a side is recorded too, and must not contradict the choice. A task that its annotator skipped is a
label `skip`. Annotators are named by their number in Label Studio, which every export holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from html import escape
from typing import Any

from duelist.errors import DataError
from duelist.exchange.choices import CHOICES, SIDES, answer_id, label_of_choice
from duelist.exchange.reading import Row, asked_question, row_of
from duelist.exchange.tasks import Task, require_pairs
from duelist.types import Label, Question

TOOL = "Label Studio"
NEEDS, REMEDY = "A task needs `data` and `annotations`", "export JSON"
OUTCOME, _PAIRWISE = "outcome", "comparison"  # names of the two controls in the configuration
Content = Mapping[str, Any]


def configuration() -> str:
    """Return the labelling configuration of a project (Settings, Labeling Interface, Code)."""
    choices = "\n".join(
        f'      <Choice value="{escape(text)}" hotkey="{key}"/>' for key, text in enumerate(CHOICES, start=1)
    )
    return f"""<View>
  <Style>
    .duelist-sides {{ display: flex; gap: 1em; align-items: stretch; }}
    .duelist-sides > div {{ flex: 1 1 0; min-width: 0; border: 1px solid #999; border-radius: 4px; padding: 0.5em; }}
    .duelist-text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
  </Style>
  <Header value="Prompt"/>
  <View className="duelist-text"><Text name="prompt" value="$prompt"/></View>
  <Header value="Which response is better?"/>
  <Pairwise name="{_PAIRWISE}" toName="left,right"/>
  <View className="duelist-sides duelist-text">
    <Text name="left" value="$left"/>
    <Text name="right" value="$right"/>
  </View>
  <Choices name="{OUTCOME}" toName="prompt" choice="single" showInline="true" required="true"
           requiredMessage="Choose an outcome.">
{choices}
  </Choices>
</View>
"""


def task_data(tasks: list[Task]) -> list[dict[str, Any]]:
    """Return the tasks as Label Studio imports them, in pick order.

    Raises:
        DataError: if a question has more than two responses.
    """
    return [
        {
            "data": {
                "prompt": t.prompt_text,
                "left": t.texts[0],
                "right": t.texts[1],
                "question_id": t.question.id,
                "shown": list(t.shown),
                "round": t.round,
                "position": t.position,
            }
        }
        for t in require_pairs(tasks, TOOL)
    ]


def files(tasks: list[Task], name: str) -> dict[str, str]:
    """Return the files of an export: `config.xml` for the project's settings, `tasks.json` for its import page."""
    rows = json.dumps(task_data(tasks), ensure_ascii=False, indent=1)
    return {"config.xml": configuration(), "tasks.json": rows + "\n"}


def is_own(item: Any) -> bool:
    """Return whether an item of a JSON array is a task of a Label Studio export (JSON or JSON-MIN)."""
    if not isinstance(item, Mapping):
        return False
    whole = isinstance(item.get("data"), Mapping) and isinstance(item.get("annotations"), list)
    return whole or {"question_id", "shown", "annotation_id"} <= item.keys()


def answers(where: str, task: Content, questions: Mapping[str, Question]) -> Iterator[Row]:
    """Yield a row for each annotation; a task without one gives none."""
    if "annotations" not in task:
        yield row_of(where, partial(_label, task, task, task, questions))
        return
    for number, annotation in enumerate(task["annotations"], start=1):
        name = annotation.get("id") if isinstance(annotation, Mapping) else f"number {number}"
        yield row_of(f"annotation {name} of {where}", partial(_annotated, task, annotation, questions))


def _annotated(task: Content, annotation: Content, questions: Mapping[str, Question]) -> Label:
    return _label(task["data"], annotation, _chosen(annotation), questions)


def _chosen(annotation: Content) -> dict[str, Any]:
    """Return the values of an annotation's controls by name, as JSON-MIN has them."""
    choices: list[Any] = []
    clicks: list[Any] = []
    for result in annotation.get("result") or []:
        value = result.get("value") or {}
        if result.get("type") == "choices" and result.get("from_name") == OUTCOME:
            choices += value.get("choices") or []
        if result.get("type") == "pairwise":
            clicks.append(value)
    outcome = {OUTCOME: choices[0] if len(choices) == 1 else choices} if choices else {}
    return {**outcome, _PAIRWISE: clicks}


def _label(data: Content, annotation: Content, chosen: Content, questions: Mapping[str, Question]) -> Label:
    pair = asked_question(data.get("question_id"), questions)
    skipped = bool(annotation.get("was_cancelled"))
    choice = "skip" if skipped else chosen.get(OUTCOME)
    if not skipped:
        _require_consistent(CHOICES.get(choice) if isinstance(choice, str) else None, chosen.get(_PAIRWISE))
    number, who = annotation.get("annotation_id", annotation.get("id")), _annotator(annotation)
    if number is None:
        raise DataError("An annotation needs its `id`, from which the label's is made, but has none: export again.")
    own_id = answer_id(TOOL, pair.id, who, number)
    return label_of_choice(
        pair, choice, data.get("shown"), who, own_id, annotation.get("lead_time"), annotation.get("created_at")
    )


def _annotator(annotation: Content) -> str:
    who = annotation.get("completed_by", annotation.get("annotator"))
    number = who.get("id") if isinstance(who, Mapping) else who
    if not isinstance(number, int):
        raise DataError(f"An annotation needs its annotator's number, but has {who!r}: export it again.")
    return f"label-studio-{number}"


def _require_consistent(outcome: str | None, clicked: Any) -> None:
    """Require that a click on a side does not contradict the chosen outcome."""
    sides = [v.get("selected") for v in clicked or [] if isinstance(v, Mapping)]
    for side in sides:
        if side in SIDES and outcome in SIDES and side != outcome:
            raise DataError(
                f"A vote must say one thing, but {side} was clicked and the choice is {outcome}: correct the "
                "annotation in Label Studio, and export it again."
            )
