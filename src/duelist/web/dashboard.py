"""Numbers of the owner's dashboard, from the derived state: pace, cost, agreement, gold, disputes, the curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from duelist.web.assignment import places
from duelist.web.characters import visible
from duelist.web.desk import Desk
from duelist.web.disputes import agreements
from duelist.web.items import Item
from duelist.web.page_settings import PageSettings
from duelist.web.record import Act, Member

Statistics = Callable[[Sequence[Act]], Mapping[str, Any]]
"""Further statistics of agreement over the acts that count, by name."""

_HOURS = 48
_DISPUTED_SHOWN = 20
_FAILURES_SHOWN = 50
_LONGEST_TITLE = 140


def dashboard(desk: Desk, settings: PageSettings, statistics: Statistics | None = None) -> dict[str, Any]:
    """Return the state that the owner sees, as JSON."""
    source, standing = desk.source, desk.source.standing()
    insight = source.insight()
    with desk.journal.lock:  # votes wait for it: what takes long follows below
        record, now = desk.journal.record, desk.journal.clock()
        acts = [a for a in record.acts.values() if not a.undone]
        batches = desk.rounds.opened()
        batch = batches[0] if batches else None
        found = desk.rounds.agreements()
        members, leases = tuple(record.members.values()), record.open_leases()
        state: dict[str, Any] = {
            "number": record.number,
            "study": source.name,
            "phase": "labelling" if batch else standing.phase,
            "round": batch.round if batch else standing.round,
            "rounds": standing.rounds,
            "budget_left": standing.budget_left,
            "paused": record.paused,
            "batch": {
                "size": len(batch.items) if batch else 0,
                "done": len(batch.items) - desk.rounds.unfinished(batch.round) if batch else 0,
                "open_leases": len(leases),
            },
            "agreement": {"pairwise": sum(found) / len(found) if found else None, "compared": len(found)},
            "disputed": [_disputed(desk, item, score) for item, score in desk.rounds.disputed()[:_DISPUTED_SHOWN]],
        }
    answers = [a for a in acts if a.answers]
    pace = [seconds(a) for a in answers if seconds(a) > 0]
    questions = len({a.question_id for a in answers})
    held = Counter(x.annotator for x in leases)
    of: dict[str, list[Act]] = {m.name: [] for m in members}
    for act in acts:
        of.setdefault(act.annotator, []).append(act)
    if statistics is not None:
        state["agreement"] |= dict(statistics(answers))
    return state | {
        "labels": {"answers": len(answers), "questions": questions, "hours": _hours(answers, now)},
        "cost": _costs(acts, settings),
        "seconds_median": median(pace) if pace else None,
        "annotators": [_annotator(m, of[m.name], held[m.name], desk) for m in members],
        "gold_failures": _gold_failures(acts, desk),
        "curve": [dict(point) for point in insight.curve],
        "next_label_nats": insight.next_label_nats,
        "stopping": _stopping(insight.stopping_saves, pace, settings),
    }


def seconds(act: Act) -> float:
    """Return the active seconds of an act."""
    return float(act.sent.get("active_seconds") or 0.0)


def _hours(answers: Sequence[Act], now: datetime) -> list[dict[str, Any]]:
    """Return the answers of each of the last hours, the present one last."""
    this = now.replace(minute=0, second=0, microsecond=0)
    counts = Counter(datetime.fromisoformat(a.at).replace(minute=0, second=0, microsecond=0) for a in answers)
    hours = [this - timedelta(hours=h) for h in range(_HOURS - 1, -1, -1)]
    return [{"hour": hour.isoformat(), "labels": counts[hour]} for hour in hours]


def _costs(acts: Sequence[Act], settings: PageSettings) -> dict[str, Any]:
    """Return what people's time was spent on: questions, and beside them overlap, gold, repeats, audits, unused."""
    spent: dict[str, list[float]] = {
        name: [] for name in ("questions", "overlap", "gold", "repeats", "adjudication", "unused")
    }
    seen: set[str] = set()
    for act in acts:
        if not act.counts:
            kind = "unused"
        elif act.purpose == "question":
            kind = "overlap" if act.question_id in seen else "questions"
            seen.add(act.question_id)
        else:
            kind = {"gold": "gold", "repeat": "repeats", "adjudicate": "adjudication"}[act.purpose]
        spent[kind].append(seconds(act))
    costs = {kind: _priced(len(times), sum(times), settings) for kind, times in spent.items()}
    idle = sum(float(a.sent.get("idle_seconds") or 0.0) for a in acts)
    total = _priced(len(acts), sum(map(sum, spent.values())), settings)
    return {"total": total, "idle_seconds": idle, "currency": settings.currency, "by_purpose": costs}


def _priced(count: int, active: float, settings: PageSettings) -> dict[str, Any]:
    wage = settings.hourly_wage
    return {"acts": count, "seconds": active, "money": None if wage is None else active / 3600 * wage}


def _stopping(labels: int | None, pace: Sequence[float], settings: PageSettings) -> dict[str, Any] | None:
    """Return what stopping now would save, at the median pace so far."""
    if labels is None:
        return None
    return {"labels": labels} | _priced(labels, labels * (median(pace) if pace else 0.0), settings)


def _annotator(member: Member, acts: Sequence[Act], held: int, desk: Desk) -> dict[str, Any]:
    answers = [a for a in acts if a.answers]
    pace = [seconds(a) for a in answers if seconds(a) > 0]
    gold = [a for a in acts if a.purpose == "gold" and a.counts]
    chosen = [a for a in answers if a.sent["outcome"] == "prefer" and a.order_known]
    repeats = [x for a in acts if a.purpose == "repeat" and (x := _repeated(a, answers)) is not None]
    return {
        "name": visible(member.name),
        "role": member.role,
        "active": member.active,
        "labels": len(answers),
        "open": held,
        "last": acts[-1].at if acts else None,
        "seconds_median": median(pace) if pace else None,
        "first_chosen": sum(a.sent["chosen"] == a.sent["shown"][0] for a in chosen),
        "chosen": len(chosen),
        "gold": len(gold),
        "gold_failed": sum(not desk.is_right(a) for a in gold),
        "repeats": len(repeats),
        "repeats_equal": sum(value == 1 for value in repeats),
    }


def _repeated(repeat: Act, answers: Sequence[Act]) -> float | None:
    """Return the agreement of a repeat with the person's own answer."""
    first = [a for a in answers if a.question_id == repeat.question_id]
    return next(iter(agreements([first[0], repeat])), None) if first else None


def _gold_failures(acts: Sequence[Act], desk: Desk) -> list[dict[str, Any]]:
    wrong = [a for a in acts if a.purpose == "gold" and a.counts and not desk.is_right(a)]
    return [
        {"annotator": visible(a.annotator), "at": a.at, "outcome": a.sent["outcome"], **_titled(desk, a.question_id)}
        for a in wrong[-_FAILURES_SHOWN:]
    ]


def _disputed(desk: Desk, item: Item, score: float) -> dict[str, Any]:
    record = desk.journal.record
    return {
        "dispute": score,
        "answers": len(record.answers(item.id)),
        "places": places(record, desk.settings, item.id),
        "adjudicated": bool(record.adjudications(item.id)),
        "open": any(item.id == x.id for batch in desk.rounds.opened() for x in batch.items),
        **_titled(desk, item.id),
    }


def _titled(desk: Desk, question_id: str) -> dict[str, str]:
    """Return a question's id and the beginning of its last message."""
    item = desk.rounds.items.get(question_id)
    text = visible(item.prompt[-1].text) if item is not None and item.prompt else ""
    short = text if len(text) <= _LONGEST_TITLE else text[: _LONGEST_TITLE - 1] + "…"
    return {"question_id": question_id, "title": " ".join(short.split())}
