"""Figures of the gallery: one row of panels per rule."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from duelist.gallery.panel import REACH, Panel


def draw_panels(path: Path, rule: str, panels: Sequence[Panel]) -> None:
    """Draw a rule's rounds side by side: the model's estimate, the points and the picked comparisons.

    Args:
        path: file to write.
        rule: name of the rule, for the title.
        panels: one per round, in order.
    """
    figure = Figure(figsize=(2.5 * len(panels) + 0.2, 3.2), layout="constrained")
    figure.suptitle(f"{rule}: the comparisons it picks", fontsize=10)
    for place, (axes, panel) in enumerate(zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True)):
        axes.imshow(
            panel.estimate_XX, origin="lower", extent=(-REACH, REACH, -REACH, REACH), cmap="viridis", aspect="equal"
        )
        axes.scatter(*panel.points_R2.T, s=1, color="0.75", linewidths=0)
        ends_B22 = panel.points_R2[panel.picks_B2]
        axes.add_collection(LineCollection(list(ends_B22), colors="tab:red", linewidths=0.3, alpha=0.6))
        axes.scatter(*ends_B22.reshape(-1, 2).T, s=3, color="tab:red", linewidths=0)
        axes.set_xlim(-REACH, REACH)
        axes.set_ylim(-REACH, REACH)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"1 − Spearman {panel.error:.2f} before", fontsize=7)
        axes.set_title(f"round {place + 1}", fontsize=8)
    # Few colours keep the files small: they are committed to repositories.
    canvas = BytesIO()
    figure.savefig(canvas, dpi=80, format="png")
    Image.open(canvas).convert("RGB").quantize(48).save(path, format="PNG", optimize=True)
