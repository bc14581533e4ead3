"""Map of the pool: candidate questions in the plane by their words, with the picked ones in front.

Reference: Deerwester et al., "Indexing by latent semantic analysis", Journal of the American Society for Information
           Science 41, 1990; tf–idf: Salton and Buckley, Information Processing & Management 24, 1988.
Formula:   a question is the bag of tokens of its responses and prompts, x_v = (1 + log tf_v) · log(N / df_v), scaled to
           length 1 and centred; its place is its projection on the first two right singular vectors.
Cost:      reads the candidates and their responses from the rounds' folders; sparse, in the number of tokens.

The map shows which kinds of texts were picked, not how uncertain the model was: the features of the choice are deleted
after it. Large pools are thinned out evenly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, svds

from duelist.report.record import Arm
from duelist.report.svg import Canvas, Points, dots
from duelist.store.codecs import DRAWS
from duelist.store.layout import round_folder

POOL_SHOWN = 1500
PICKS_SHOWN = 400
STEPS = 6  # groups of rounds, colours of the style sheet: classes t0 to t5
WIDTH, HEIGHT = 560.0, 380.0
_PAIRS = "pairs.jsonl"
Tokens = Mapping[int, int]


@dataclass(frozen=True)
class PoolMap:
    """The map and its legend.

    Attributes:
        svg: the drawing.
        groups: label of each group of rounds, in the order of their classes t0, t1, ...
        pool: number of candidate questions in the files.
        pool_shown: number of those drawn.
        picks: number of picked questions.
        picks_shown: number of those drawn.
    """

    svg: Markup
    groups: tuple[str, ...]
    pool: int
    pool_shown: int
    picks: int
    picks_shown: int


def pool_map(arm: Arm) -> PoolMap | None:
    """Return the map of a study's pool; None if there is nothing to draw.

    That is the case before anything is asked, online (no pool is kept), and if all candidates have the same words.
    """
    rounds = sorted({x.round for x in arm.asked})
    if not rounds:
        return None
    sizes, pool = _pool(arm, rounds[:1] if arm.recipe["pool"] == "fixed" else rounds)
    if len(pool) < 3:
        return None
    picked = spread(list(arm.asked), PICKS_SHOWN)
    bags = [_counted(tokens) for tokens in pool]
    bags += [_counted([[*r.token_ids, *r.prompt_token_ids] for r in x.question.responses]) for x in picked]
    place_N2 = placed(bags)
    if not np.ptp(place_N2, axis=0).all():
        return None
    groups = round_groups(rounds)
    group_of = {t: i for i, group in enumerate(groups) for t in group}
    labels = tuple(f"round {g[0]}" if len(g) == 1 else f"rounds {g[0]}–{g[-1]}" for g in groups)
    words = f"Map of {sizes:,} candidate questions, of which {len(arm.asked):,} were picked."
    canvas = Canvas(WIDTH, HEIGHT, words, "map")
    at = _on_canvas(place_N2)
    canvas.add("path", d=dots(at[: len(pool)]), class_="pool")
    for (x, y), one in zip(at[len(pool) :], picked, strict=True):
        title = f"{one.round}.{one.position + 1}"
        canvas.mark(x, y, "circle", 4.0 if len(picked) <= 150 else 2.6, f"pick t{group_of[one.round]}", title)
    return PoolMap(canvas.markup(), labels, sizes, len(pool), len(arm.asked), len(picked))


def placed(bags: Sequence[Tokens]) -> NDArray[np.float64]:
    """Return the places `[N, 2]` of bags of tokens: the two directions of largest variance of their tf–idf vectors."""
    n = len(bags)
    columns = {token: i for i, token in enumerate(sorted({token for bag in bags for token in bag}))}
    width = len(columns)
    if min(n, width) < 4:  # too little for two directions and a mean
        return np.zeros((n, 2))
    starts = np.cumsum([0, *(len(bag) for bag in bags)])
    index = np.array([columns[token] for bag in bags for token in bag], np.int64)
    times = np.array([k for bag in bags for k in bag.values()], np.float64)
    weight = (1 + np.log(times)) * np.log(n / np.bincount(index, minlength=width))[index]
    row = np.repeat(np.arange(n), np.diff(starts))
    norm_N = np.sqrt(np.bincount(row, weight**2, minlength=n))
    if not norm_N.any():  # every bag is the same
        return np.zeros((n, 2))
    weight /= np.where(norm_N > 0, norm_N, 1.0)[row]
    x = csr_array((weight, index, starts), shape=(n, width))
    mean = np.asarray(x.mean(axis=0)).ravel()
    centred = LinearOperator(
        (n, width),
        matvec=lambda v: x @ v.ravel() - mean @ v.ravel(),
        rmatvec=lambda u: x.T @ u.ravel() - mean * u.sum(),
        dtype=np.float64,
    )
    u, s, _ = svds(centred, k=2, v0=np.linspace(-1, 1, min(n, width)))
    place_N2 = np.asarray(u[:, ::-1] * s[::-1])
    sign_2 = np.sign(place_N2[np.abs(place_N2).argmax(axis=0), [0, 1]])  # a direction's sign is arbitrary
    return np.asarray(place_N2 * np.where(sign_2 == 0, 1, sign_2))


def round_groups(rounds: Sequence[int]) -> list[list[int]]:
    """Return the rounds in at most `STEPS` groups of consecutive rounds, of sizes that differ by one at most."""
    return [part.tolist() for part in np.array_split(np.array(rounds), min(STEPS, len(rounds)))]


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` items, evenly spaced, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _pool(arm: Arm, rounds: Sequence[int]) -> tuple[int, list[list[Sequence[int]]]]:
    """Return the number of candidate questions of some rounds, and the tokens of evenly spaced ones."""
    total = 0
    found: list[list[Sequence[int]]] = []
    for t in rounds:
        folder = round_folder(arm.folder, t)
        try:
            lines = (folder / _PAIRS).read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in spread(lines, max(POOL_SHOWN // len(rounds), 2))]
            tokens = dict(_responses(folder / DRAWS.file))
            found += [[tokens[i] for i in row.get("responses") or (row["a"], row["b"])] for row in rows]
            total += len(lines)
        except (FileNotFoundError, ValueError, KeyError):
            continue  # online rounds keep no pool; the page lists damaged files
    return total, found


def _responses(path: Path) -> Iterator[tuple[str, list[int]]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["id"], [*row["token_ids"], *row["prompt_token_ids"]]


def _counted(responses: Sequence[Sequence[int]]) -> Tokens:
    return Counter(token for of_one in responses for token in of_one)


def _on_canvas(place_N2: NDArray[np.float64]) -> Points:
    """Return the places on the canvas, the 1 % and 99 % quantiles at its borders: outliers do not shrink the rest."""
    low_2, high_2 = np.quantile(place_N2, (0.01, 0.99), axis=0)
    share_N2 = np.clip((place_N2 - low_2) / np.maximum(high_2 - low_2, 1e-12), -0.02, 1.02)
    at_N2 = 20 + share_N2 * (np.array([WIDTH, HEIGHT]) - 40)
    return [(float(x), float(y)) for x, y in at_N2]
