"""Figures of the gallery: the true reward, then a panel per round of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from duelist.gallery.panel import REACH, Floats, Panel

DOTS_PER_INCH = 160  # twice what a page shows, for sharp pictures on dense screens
POOL, PICK, EDGE = "#ffffff", "#e8392b", "#5b6470"


def draw_panels(path: Path, rule: str, truth_XX: Floats, panels: Sequence[Panel]) -> None:
    """Draw the true reward and a rule's rounds side by side: the model's estimate, the points and the picks.

    Args:
        path: file to write.
        rule: name of the rule, for the title.
        truth_XX: the true reward over the grid.
        panels: one per round, in order.
    """
    n = len(panels) + 1
    figure = Figure(figsize=(2.05 * n + 0.1, 2.95), layout="constrained")
    figure.suptitle(f"{rule}: the comparisons it picks", fontsize=10)
    first, *others = np.atleast_1d(figure.subplots(1, n))
    _field(first, truth_XX, "true reward", "what the model should learn")
    for place, (axes, panel) in enumerate(zip(others, panels, strict=True)):
        _field(axes, panel.estimate_XX, f"round {place + 1}", f"1 − Spearman {panel.error:.2f} before")
        axes.scatter(*panel.points_R2.T, s=1.2, color=POOL, linewidths=0)
        ends_B22 = panel.points_R2[panel.picks_B2]
        axes.add_collection(LineCollection(list(ends_B22), colors=PICK, linewidths=0.4, alpha=0.7))
        axes.scatter(*ends_B22.reshape(-1, 2).T, s=3, color=PICK, linewidths=0)
    handles = [
        Line2D([], [], marker="o", markersize=3, color=POOL, mec=EDGE, mew=0.5, ls="none", label="point of the pool"),
        Line2D([], [], marker="o", markersize=2.5, color=PICK, linewidth=0.8, label="picked comparison"),
        Patch(color="#440154", label="low reward, by rank"),
        Patch(color="#fde725", label="high reward"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    # Few colours keep the files small: they are committed to repositories.
    canvas = BytesIO()
    figure.savefig(canvas, dpi=DOTS_PER_INCH, format="png")
    Image.open(canvas).convert("RGB").quantize(48).save(path, format="PNG", optimize=True)


def ranks(values_XX: Floats) -> Floats:
    """Return the rank of each value among all, from 0 to 1: rewards are learned up to a monotone scale."""
    order = np.argsort(np.argsort(values_XX, axis=None, kind="stable"), kind="stable")
    return np.asarray(order.reshape(values_XX.shape) / max(values_XX.size - 1, 1))


def _field(axes: Any, values_XX: Floats, title: str, below: str) -> None:
    """Draw a reward over the square, coloured by rank."""
    extent = (-REACH, REACH, -REACH, REACH)
    axes.imshow(ranks(values_XX), origin="lower", extent=extent, cmap="viridis", vmin=0, vmax=1, aspect="equal")
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(below, fontsize=7)
