"""Recorded decisions on responses by their texts, and the rankings that they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from duelist.data.rows import Decision
from duelist.labels import OUTCOMES
from duelist.types import Outcome, Votes

Key = tuple[str, str, str]  # prompt id and the two texts, sorted
TextGroups = list[list[str]]  # a ranking, best first; equally good ones in one list
FLIPPED: dict[Outcome, Outcome] = {outcome: outcome for outcome in OUTCOMES} | {"a": "b", "b": "a"}


@dataclass
class RecordedDecisions:
    """The decisions of a data set, by annotator. Of several on the same responses, the last row counts.

    Attributes:
        pairs: decisions on two texts, for the first of the sorted texts as a.
        rankings: by prompt: the ranked texts, who ranked them, and the ranking.
    """

    pairs: dict[Key, dict[str, Decision]] = field(default_factory=dict)
    rankings: dict[str, dict[tuple[frozenset[str], str], TextGroups]] = field(default_factory=dict)

    def add_pair(self, prompt_id: str, texts: Sequence[str], who: str, decision: Decision) -> None:
        """Add a decision on two texts, the first as a."""
        first = min(texts)
        own = decision if texts[0] == first else flipped(decision)
        self.pairs.setdefault((prompt_id, first, max(texts)), {})[who] = own

    def add_ranking(self, prompt_id: str, texts: Sequence[str], who: str, ranking: TextGroups) -> None:
        """Add a ranking of some texts."""
        own = self.rankings.setdefault(prompt_id, {})
        own.pop((frozenset(texts), who), None)  # the last row counts, also against rankings of other responses
        own[frozenset(texts), who] = ranking

    def of_pair(self, prompt_id: str, a: str, b: str) -> dict[str, Decision]:
        """Return the decisions on two texts by annotator: those on the pair, and those that rankings say."""
        first, second = sorted((a, b))
        found = {who: _decision(ranking, first) for who, ranking in self._ranked(prompt_id, {a, b})}
        own = {**{who: d for who, d in found.items() if d}, **self.pairs.get((prompt_id, first, second), {})}
        return {who: d if a == first else flipped(d) for who, d in own.items()}

    def of_set(self, prompt_id: str, texts: Sequence[str]) -> dict[str, TextGroups | None]:
        """Return the rankings of some texts by annotator; None for pairs that contradict one another.

        They come from rankings of these texts or more, and from annotators who decided every pair of them.
        """
        found: dict[str, TextGroups | None] = dict(self._ranked(prompt_id, set(texts)))
        keys = [(prompt_id, *sorted(pair)) for pair in combinations(texts, 2)]
        of_pairs = [self.pairs.get((prompt, first, second), {}) for prompt, first, second in keys]
        for who in set.intersection(*({w for w, d in x.items() if d[0] in ("a", "b", "tie")} for x in of_pairs)):
            outcomes = {(key[1], key[2]): x[who][0] for key, x in zip(keys, of_pairs, strict=True)}
            found.setdefault(who, _ranking_of(texts, outcomes))
        return found

    def _ranked(self, prompt_id: str, texts: set[str]) -> Iterable[tuple[str, TextGroups]]:
        """Yield who ranked these texts or more, and the ranking of these."""
        for (ranked, who), ranking in self.rankings.get(prompt_id, {}).items():
            if texts <= ranked:
                yield who, [own for group in ranking if (own := [t for t in group if t in texts])]


def flipped(decision: Decision) -> Decision:
    """Return a decision with a and b exchanged."""
    outcome, votes = decision
    return FLIPPED[outcome], votes and Votes(votes.n_b, votes.n_a, votes.n_eq)


def _decision(ranking: TextGroups, first: str) -> Decision | None:
    """Return what a ranking of two texts says, with `first` as a; None if it orders neither."""
    if not ranking:
        return None
    return ("tie" if len(ranking[0]) == 2 else "a" if ranking[0] == [first] else "b"), None


def _ranking_of(texts: Sequence[str], outcomes: dict[tuple[str, str], Outcome]) -> TextGroups | None:
    """Return the ranking that agrees with the outcome of every pair of the texts; None if there is none."""
    wins = Counter(dict.fromkeys(texts, 0))
    for (a, b), outcome in outcomes.items():
        wins[a] += outcome == "a"
        wins[b] += outcome == "b"
    said: dict[tuple[str, str], Outcome] = {
        (a, b): "tie" if wins[a] == wins[b] else ("a" if wins[a] > wins[b] else "b") for a, b in outcomes
    }
    if said != outcomes:
        return None
    return [[t for t in texts if wins[t] == n] for n in sorted(set(wins.values()), reverse=True)]
