"""report.html: one self-contained page with a study's figures and tables, built only from the study folder."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from duelist.errors import unwritable_as_storage_error
from duelist.evaluation.metrics import METRICS, MetricSpec, finite, interval_of, shown_in
from duelist.judges.summary import judges_of
from duelist.labels import PEOPLE_OUTCOMES
from duelist.recipe.values import name_of
from duelist.report.figures import Picture, choice_figures, result_figures
from duelist.report.record import Arm, Selected, read_arms, reward_kl_rows, selected
from duelist.store.artifacts import write_text
from duelist.store.decisions import question_of
from duelist.store.layout import ARMS
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Answer, Label

REPORT = "report.html"
REWARD_KL = "reward_kl.csv"
_TEMPLATE = "report.html.j2"
PEOPLE = "people (labels come by tell)"
_PAIRS_SHOWN = 20
_GROUPS_SHOWN = 60


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write a study's report and return its path. The study may be at any stage.

    If there is a reward, `reward_kl.csv` in the same folder contains the reward–KL curves. The studies under `compare/`
    are drawn as further lines. Another process may run the study at the same time.

    Args:
        folder: study folder.
        output: output file; `report.html` in the study folder by default.

    Raises:
        StorageError: if there is no study in the folder, the report cannot be written there, or the disk is full.
    """
    arms = read_arms(folder)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "share": _share}
    path = output or folder / REPORT
    page = environment.get_template(_TEMPLATE).render(_content(arms))
    with unwritable_as_storage_error(path):
        write_text(path, page)
    rows = reward_kl_rows(arms)
    if rows:
        table = io.StringIO()
        writer = csv.DictWriter(table, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with unwritable_as_storage_error(path.with_name(REWARD_KL)):
            write_text(path.with_name(REWARD_KL), table.getvalue())
    return path


def _content(arms: Sequence[Arm]) -> dict[str, Any]:
    main = arms[0]
    of_arms = [selected(arm) for arm in arms]
    asked_in = [c.round for c in of_arms[0]]
    rows = [row for arm in arms for row in arm.metrics]
    measured = [m for m in shown_in("report") if any(finite(row.get(m.name)) is not None for row in rows)]
    return {
        "name": name_of(main.recipe),
        "noun": _noun(main),
        "description": main.recipe.get("description", ""),
        "state": _state(main),
        "damage": [f"{arm.label}: {wrong}" if len(arms) > 1 else wrong for arm in arms for wrong in arm.damage],
        "settings": _settings(main),
        "seed": main.recipe["seed"],
        "comparison": _comparison(arms, measured),
        "not_begun": sorted(set(main.recipe.get("compare", {})) - {arm.label for arm in arms[1:]}),
        "arms_folder": ARMS,
        "results": _drawn(result_figures(arms)),
        "choices": _drawn(choice_figures(arms, of_arms)),
        "metrics": measured,
        "headings": {m.name: m.heading for m in METRICS},
        "tables": [_table(arm, rounds) for arm, rounds in zip(arms, of_arms, strict=True)],
        "judges": [(arm.label, use) for arm in arms for use in judges_of(arm.judged)],
        "groups": _groups(arms, of_arms),
        "outcomes": list(
            dict.fromkeys([*PEOPLE_OUTCOMES, *(name for of_arm in of_arms for c in of_arm for name in c.outcomes)])
        ),
        "pair_sections": [_pair_section(main, t) for t in dict.fromkeys((*asked_in[-1:], *asked_in[:1]))],
    }


def _state(arm: Arm) -> str:
    labels = f"{len(arm.answers)} label{'' if len(arm.answers) == 1 else 's'}"
    if not arm.metrics:
        return f"Nothing measured yet: no round of {arm.rounds} closed, {labels}."
    if arm.finished and arm.end.reason:
        return f"Finished: stopped after {arm.rounds_closed} of {arm.rounds} rounds, {labels}; {arm.end.reason}."
    if arm.finished:
        return f"Finished: {arm.rounds} of {arm.rounds} rounds closed, {labels}."
    current = arm.rounds_closed + 1
    asked = {x.question.id for x in arm.asked if x.round == current}
    answered = len(asked & {question_of(x) for x in arm.answers})
    pending = f"{len(asked)} {_noun(arm)}s asked, {answered} answered" if asked else "no pair asked yet"
    return f"In progress: round {current} of {arm.rounds} ({pending}); {arm.rounds_closed} closed, {labels}."


def _settings(arm: Arm) -> list[tuple[str, str]]:
    recipe = arm.recipe
    acquisition = dict(recipe["acquisition"])
    rule = str(acquisition.pop("name"))
    split = recipe.get("schedule", "constant")
    asked = f"{recipe['budget']} {_noun(arm)}s a round, {recipe['rounds']} rounds" + (
        "" if split == "constant" else f", schedule {split if isinstance(split, str) else _brief({'list': split})}"
    )
    random_first = f", the first {recipe['initial_random']} at random" if recipe.get("initial_random") else ""
    known = [("Known before round 1", f"{arm.known} preferences")] if arm.known else []
    return [
        ("Model", _prepared(_model(recipe), recipe)),
        ("Acquisition", _prepared(f"{rule} ({_brief(acquisition)})" if acquisition else rule, recipe)),
        ("Trainer", _prepared(name_of(recipe, "trainer"), recipe)),
        ("β", str(recipe["beta"])),
        ("Budget", asked + random_first),
        *known,
        ("Pool", str(recipe["pool"])),
        ("Annotator", _prepared(name_of(recipe, "annotator") or PEOPLE, recipe)),
        ("Seed", str(recipe["seed"])),
    ]


def _prepared(text: str, recipe: Mapping[str, Any]) -> str:
    """Replace `{prepared}`, which only a running study resolves, by a description."""
    function = (recipe.get("prepare") or {}).get("function")
    if "{prepared}" not in text or function is None:
        return text
    return f"{text.replace('{prepared}/', '').replace('{prepared}', 'the folder')} (prepared by {function})"


def _model(recipe: Mapping[str, Any]) -> str:
    reward_model = recipe.get("reward_model")
    if reward_model is None:
        return str(recipe["policy"]["model"])
    embedding = reward_model["embedding"]
    where = embedding["path"] or embedding["model"] or (recipe["policy"] or {}).get("model", "")
    return f"reward model, hidden layers {reward_model['hidden']}, on embeddings by {embedding['source']} ({where})"


def _brief(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in settings.items())


def _comparison(arms: Sequence[Arm], measured: Sequence[MetricSpec]) -> dict[str, Any] | None:
    """Compare the arms after the last evaluated round that all of them have closed; None if there is only one arm."""
    if len(arms) == 1:
        return None
    t = max(set.intersection(*({m["round"] for m in arm.measured} for arm in arms)), default=0)
    if t < 1:
        return {"round": None, "sentences": ["No round is closed in every study yet: there is nothing to compare."]}
    rows = [(arm.label, arm.recipe["seed"], arm.metrics[t]) for arm in arms]
    values = {m.name: [finite(row.get(m.name)) for _, _, row in rows] for m in measured}
    ranked = [m for m in measured if m.better == "higher"]
    labels = [label for label, _, _ in rows]
    sentences = [_leader(labels, values[m.name], m) for m in ranked if None not in values[m.name]]
    return {
        "round": t,
        "rows": rows,
        "best": {
            m.name: _number(max((v for v in values[m.name] if v is not None), default=None), m.digits - 1)
            for m in ranked
        },
        "sentences": sentences or ["No reward was measured, so the arms cannot be ranked."],
        "seeds": sorted({seed for _, seed, _ in rows}),
    }


def _leader(labels: Sequence[str], values: Sequence[float | None], metric: MetricSpec) -> str:
    order = sorted(zip(labels, (v for v in values if v is not None), strict=True), key=lambda x: -x[1])
    # Values that print the same count as equal: a reader cannot see which is better.
    shown = [(label, _number(value, metric.digits - 1)) for label, value in order]
    best = shown[0][1]
    first = [label for label, value in shown if value == best]
    if len(first) == len(shown):
        return f"By {metric.heading} the arms are equal ({best})."
    others = ", ".join(f"{label} {value}" for label, value in shown[len(first) :])
    if len(first) > 1:
        return f"By {metric.heading} the highest value, {best}, is shared by {' and '.join(first)}, against {others}."
    return f"By {metric.heading} {first[0]} did better: {best}, against {others}."


def _drawn(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    # matplotlib escapes text in an SVG, so the element is safe markup.
    return [{"title": p.title, "caption": p.caption, "svg": Markup(p.svg)} for p in pictures if p.svg]


def _table(arm: Arm, rounds: Sequence[Selected]) -> dict[str, Any]:
    results = [{**m, "total_seconds": sum((m.get("seconds") or {}).values())} for m in arm.measured]
    return {"arm": arm, "rounds": results, "selected": rounds, "noun": _noun(arm)}


def _groups(arms: Sequence[Arm], of_arms: Sequence[Sequence[Selected]]) -> dict[str, Any] | None:
    """Count asked pairs by group and round: the same groups for every arm, most asked first; None without groups."""
    totals = [Counter[str]() for _ in arms]
    for total, rounds in zip(totals, of_arms, strict=True):
        for c in rounds:
            total.update(c.groups)
    over_arms = sum(totals, Counter[str]())
    order = sorted(over_arms, key=lambda g: (-over_arms[g], g))
    if not order:
        return None
    tables = [
        {
            "label": arm.label,
            "noun": _noun(arm),
            "rounds": [c.round for c in rounds],
            "rows": [(g, [c.groups.get(g, 0) for c in rounds], total[g]) for g in order[:_GROUPS_SHOWN]],
        }
        for arm, rounds, total in zip(arms, of_arms, totals, strict=True)
    ]
    column = next(a.recipe["evaluation"]["group_by"] for a, total in zip(arms, totals, strict=True) if total)
    most = max(max(total.values(), default=0) for total in totals)
    return {"column": column, "tables": tables, "most": most, "left_out": max(len(order) - _GROUPS_SHOWN, 0)}


def _pair_section(arm: Arm, t: int) -> dict[str, Any]:
    asked = [x for x in arm.asked if x.round == t]
    answers: dict[str, list[Label | Answer]] = {}
    for answer in arm.answers:
        answers.setdefault(question_of(answer), []).append(answer)
    shown = [_question(arm, x, answers.get(x.question.id, [])) for x in asked[:_PAIRS_SHOWN]]
    return {"round": t, "asked": len(asked), "pairs": shown, "unit": asked[0].unit, "noun": _noun(arm)}


def _noun(arm: Arm) -> str:
    """Return what a study asks, in a word."""
    return "question" if any(x.question.k > 2 for x in arm.asked) else "pair"


def _question(arm: Arm, x: AskedQuestion, answers: Sequence[Label | Answer]) -> dict[str, Any]:
    responses = x.question.responses
    of_all = dict.fromkeys(r.prompt_id for r in responses)  # one prompt, unless the question is across prompts
    prompts = [
        [(str(m.get("role", "")), _message_text(m.get("content"))) for m in arm.prompts[i].messages] for i in of_all
    ]
    names = "ab" if len(responses) == 2 else [str(i + 1) for i in range(len(responses))]
    name_of_id = dict(zip([r.id for r in responses], names, strict=True))
    best = {name for answer in answers for name in _best(answer, name_of_id)}
    return {
        "asked": x,
        "prompts": prompts,
        "labels": [(answer, _in_words(answer, name_of_id)) for answer in answers],
        "responses": [
            {"name": name, "text": r.text, "tokens": len(r.token_ids), "chosen": name in best}
            for name, r in zip(names, responses, strict=True)
        ],
    }


def _best(answer: Label | Answer, names: Mapping[str, str]) -> Sequence[str]:
    if isinstance(answer, Label):
        return [answer.outcome]
    return [names[r] for r in (answer.groups[0] if answer.groups else [answer.best] if answer.best else [])]


def _in_words(answer: Label | Answer, names: Mapping[str, str]) -> str:
    """Return what an answer says, with the names of the responses in the report."""
    if isinstance(answer, Label):
        return f"{answer.outcome} was chosen" if answer.outcome in ("a", "b") else str(answer.outcome).replace("_", " ")
    if answer.groups:
        order = " > ".join(" = ".join(names[r] for r in group) for group in answer.groups)
        return f"{order}{' > the rest' if answer.stopped else ''}"
    if answer.best is None:
        return answer.outcome.replace("_", " ")
    return f"best {names[answer.best]}" + (f", worst {names[answer.worst]}" if answer.worst else "")


def _message_text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _number(value: Any, digits: int = 3) -> str:
    """Format a number with `digits` decimals, or in powers of ten if very small; return a dash if not measured."""
    number = finite(value)
    if number is None:
        return "–"
    if number != 0 and abs(number) < 0.5 * 10**-digits:
        return f"{number:.1e}".replace("-", "−")
    return f"{number:.{digits}f}".replace("-", "−")


def _interval(row: Mapping[str, Any], metric: MetricSpec) -> str:
    """Format the 95 % interval of a metric; return nothing if it has none."""
    ends = interval_of(metric, row)
    return "" if ends is None else f"{_number(ends[0], metric.digits - 1)} – {_number(ends[1], metric.digits - 1)}"


def _share(value: float | None, of: int) -> str:
    """Format a share as a percentage of a count."""
    return "–" if value is None else f"{100 * value:.0f} % of {of}"
