"""The parts of the page that compute: differences, orders and the clock, each against an independent calculation."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import pytest
from page_questions import pairs

pytestmark = pytest.mark.full


@pytest.fixture
def page(open_page: Any) -> Any:
    return open_page(pairs(1))[1]


def run(page: Any, module: str, body: str, argument: Any) -> Any:
    """Return what a function body gives in the page, with the module's names in `m` and the argument in `x`."""
    return page.evaluate(f"async x => {{ const m = await import('/static/{module}.js'); {body} }}", argument)


def longest_common(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, by trying every subsequence of the shorter list."""
    short, long = sorted((first, second), key=len)
    for size in range(len(short), 0, -1):
        for chosen in itertools.combinations(short, size):
            rest = iter(long)
            if all(word in rest for word in chosen):
                return size
    return 0


def test_differences_are_a_longest_common_subsequence(page: Any) -> None:
    rng = random.Random(5)
    for _ in range(60):
        first, second = (" ".join(rng.choices("abc", k=rng.randint(0, 5))) for _ in range(2))
        result = run(page, "diff", "return m.compare(...x);", [first, second])
        for text, side in ((first, "first"), (second, "second")):
            assert "".join(part["text"] for part in result[side]) == text
            kept = "".join(part["text"] for part in result[side] if not part["changed"])
            tokens = [re.findall(r"\w|\s", one) for one in (first, second)]
            assert len(kept) == longest_common(*tokens)


def test_words_of_every_script_are_compared(page: Any) -> None:
    result = run(page, "diff", "return m.compare(...x);", ["naïve e\u0301té, 水!", "naïve e\u0301té, 火!"])
    assert [part for part in result["first"] if part["changed"]] == [{"text": "水", "changed": True}]
    assert result["similarity"] == 2 / 3


def test_an_order_agrees_with_a_naive_one_after_any_moves(page: Any) -> None:
    body = """
      const order = new m.Order(x.ids, { limit: x.limit });
      const states = [];
      x.moves.forEach(([name, ...rest], second) => {
        const timed = ["append", "insert", "tie"].includes(name) ? [...rest, second] : rest;
        order[name](...timed);
        states.push(order.toJSON());
      });
      return states;
    """
    rng = random.Random(7)
    for _ in range(40):
        ids = ["p", "q", "r", "s"]
        limit = rng.choice([2, 4])
        moves: list[list[Any]] = []
        for _ in range(15):
            name = rng.choice(["append", "insert", "tie", "remove", "takeBack", "move", "toggleTie"])
            one, other = rng.sample(ids, 2)
            arguments = {"append": [one], "insert": [one, rng.randint(0, 3)], "tie": [one, other], "remove": [one]}
            moves.append([name, *(arguments | {"move": [one, rng.choice([-1, 1])]}).get(name, [])])
        states = run(page, "order", body, {"ids": ids, "limit": limit, "moves": moves})
        naive = NaiveOrder(limit)
        for second, (move, state) in enumerate(zip(moves, states, strict=True)):
            naive.apply(second, *move)
            assert [set(group) for group in state["groups"]] == naive.groups(), (moves, second)
            assert [(p["id"], p["seconds"]) for p in state["placed"]] == naive.placed, (moves, second)


class NaiveOrder:
    """Every placed card has a number; equal numbers are ties. Numbers between two others make room."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.at: dict[str, float] = {}
        self.placed: list[tuple[str, int]] = []
        self.tie_next = False

    def groups(self) -> list[set[str]]:
        return [{c for c, at in self.at.items() if at == value} for value in sorted(set(self.at.values()))]

    def apply(self, second: int, name: str, *rest: Any) -> None:
        getattr(self, name)(second, *rest)
        for number, group in enumerate(self.groups()):
            self.at.update(dict.fromkeys(group, float(number)))

    def note(self, card: str, second: int) -> bool:
        if card not in self.at:
            if len(self.at) == self.limit:
                return False
            self.placed.append((card, second))
            self.tie_next = False
        return True

    def append(self, second: int, card: str) -> None:
        if self.tie_next and self.placed:
            self.tie(second, card, self.placed[-1][0])
        else:
            self.insert(second, card, len(self.groups()))

    def insert(self, second: int, card: str, index: int) -> None:
        if self.note(card, second):
            self.at[card] = index - 0.5

    def tie(self, second: int, card: str, other: str) -> None:
        if len({*self.at, card, other}) > self.limit:
            return
        if other not in self.at:
            self.insert(second, other, len(self.groups()))
        self.note(card, second)
        self.at[card] = self.at[other]

    def remove(self, second: int, card: str) -> None:
        if card in self.at:
            del self.at[card]
            self.placed = [entry for entry in self.placed if entry[0] != card]
            self.tie_next = False

    def takeBack(self, second: int) -> None:
        if self.placed:
            self.remove(second, self.placed[-1][0])

    def move(self, second: int, card: str, step: int) -> None:
        if card not in self.at:
            return
        tied = sum(at == self.at[card] for at in self.at.values()) > 1
        self.at[card] += step * (0.5 if tied else 1.5)

    def toggleTie(self, second: int) -> None:
        self.tie_next = bool(self.placed) and len(self.at) < self.limit and not self.tie_next


def test_the_clock_agrees_with_counting_every_second(page: Any) -> None:
    body = """
      let now = 0;
      const clock = new m.Clock(x.limit, {}, () => now);
      clock.show();
      return x.events.map((event) => {
        now += 1;
        if (event) clock[event]();
        return clock.read();
      });
    """
    rng = random.Random(11)
    events = [rng.choice([None, None, None, None, "input", "hide", "show"]) for _ in range(300)]
    readings = run(page, "clock", body, {"limit": 4, "events": events})
    active = idle = quiet = 0
    visible = True
    for event, reading in zip(events, readings, strict=True):
        if visible:
            quiet += 1
            active, idle = (active + 1, idle) if quiet <= 4 else (active, idle + 1)
        visible = {"hide": False, "show": True}.get(event or "", visible)
        quiet = 0 if event == "input" else quiet
        assert (reading["active"], reading["idle"]) == (active, idle)
