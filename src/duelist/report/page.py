"""report.html: one self-contained page with a study's figures and tables, built only from the study folder."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from duelist.errors import unwritable_as_storage_error
from duelist.evaluation.metrics import METRICS, finite, shown_in
from duelist.judges.summary import judges_of
from duelist.labels import PEOPLE_OUTCOMES
from duelist.recipe.values import name_of
from duelist.report import described, formats, glossary
from duelist.report.answering import answering
from duelist.report.cards import CARDS_OPEN, card_sections
from duelist.report.charts import choice_charts, groups_chart, metric_charts, reward_kl_chart, swatch
from duelist.report.compared import comparison, groups
from duelist.report.first_screen import first_screen
from duelist.report.pool_map import pool_map
from duelist.report.record import Arm, Selected, read_arms, reward_kl_rows, selected
from duelist.report.sections import Section
from duelist.report.why import why
from duelist.store.artifacts import write_text
from duelist.store.layout import ARMS

REPORT = "report.html"
REWARD_KL = "reward_kl.csv"
TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path, output: Path | None = None, sections: Sequence[Section] = ()) -> Path:
    """Write a study's report and return its path. The study may be at any stage.

    If there is a reward, `reward_kl.csv` in the same folder contains the reward–KL curves. The studies under `compare/`
    are drawn as further lines. Another process may run the study at the same time.

    Args:
        folder: study folder.
        output: output file; `report.html` in the study folder by default.
        sections: further sections, below the results.

    Raises:
        StorageError: if there is no study in the folder, the report cannot be written there, or the disk is full.
    """
    arms = read_arms(folder)
    path = output or folder / REPORT
    page = _environment().get_template("report.html.j2").render(_content(arms, sections))
    with unwritable_as_storage_error(path):
        write_text(path, page.lstrip())
    rows = reward_kl_rows(arms)
    if rows:
        table = io.StringIO()
        writer = csv.DictWriter(table, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with unwritable_as_storage_error(path.with_name(REWARD_KL)):
            write_text(path.with_name(REWARD_KL), table.getvalue())
    return path


@cache
def _environment() -> Environment:
    """Return the templates; compiling them is most of the time of a small report."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": formats.number, "interval": formats.interval, "share": formats.share}
    return environment


def _content(arms: Sequence[Arm], sections: Sequence[Section]) -> dict[str, Any]:
    main = arms[0]
    of_arms = [selected(arm) for arm in arms]
    rows = [row for arm in arms for row in arm.metrics]
    measured = [m for m in shown_in("report") if any(finite(row.get(m.name)) is not None for row in rows)]
    first = first_screen(arms)
    curves = [*metric_charts(arms, first.metric.name if first.metric else None), reward_kl_chart(arms)]
    grouped = groups(arms, of_arms)
    kinds = groups_chart(arms, grouped["counts"], grouped["column"]) if grouped else None
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return {
        "style": Markup(style),
        "style_hash": "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "name": name_of(main.recipe),
        "noun": described.noun(main),
        "description": main.recipe.get("description", ""),
        "state": described.state(main),
        "damage": [f"{arm.label}: {wrong}" if len(arms) > 1 else wrong for arm in arms for wrong in arm.damage],
        "settings": described.settings(main),
        "seed": main.recipe["seed"],
        "arms": arms,
        "swatches": [swatch(i) for i in range(len(arms))],
        "first": first,
        "comparison": comparison(arms, measured),
        "not_begun": sorted(set(main.recipe.get("compare", {})) - {arm.label for arm in arms[1:]}),
        "arms_folder": ARMS,
        "why": why(main),
        "map": pool_map(main),
        "kinds": kinds,
        "choices": choice_charts(arms, of_arms),
        "results": [picture for picture in curves if picture.svg],
        "metrics": measured,
        "headings": {m.name: m.heading for m in METRICS},
        "tables": [_table(arm, rounds) for arm, rounds in zip(arms, of_arms, strict=True)],
        "answering": answering(main),
        "at_the_page": name_of(main.recipe, "annotator") in ("people", "cascade"),
        "judges": [(arm.label, use) for arm in arms for use in judges_of(arm.judged)],
        "groups": grouped,
        "outcomes": list(
            dict.fromkeys([*PEOPLE_OUTCOMES, *(name for of_arm in of_arms for c in of_arm for name in c.outcomes)])
        ),
        "card_sections": card_sections(main),
        "cards_open": CARDS_OPEN,
        "sections": sections,
        "terms": {**glossary.TERMS, **glossary.of_metrics(measured)},
    }


def _table(arm: Arm, rounds: Sequence[Selected]) -> dict[str, Any]:
    results = [{**m, "total_seconds": sum((m.get("seconds") or {}).values())} for m in arm.measured]
    return {"arm": arm, "rounds": results, "selected": rounds, "noun": described.noun(arm)}
