"""`duelist rehearse`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from duelist.cli.console import Json, Quiet, TerminalProgress, err, out, print_json, say
from duelist.errors import RecipeError
from duelist.progress import Silent, quiet_libraries

if TYPE_CHECKING:
    from duelist.compare.running import Outcome
    from duelist.rehearsal.saving import MetricSavings


def rehearse(
    preferences: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Preferences that you have: .jsonl, .parquet, .csv, or a data set on the Hub. Rows in TRL's format "
            "(`prompt`, `chosen`, `rejected`), rows with `response_a`, `response_b` and `label` or votes `n_a`, `n_b`, "
            "or a file written by `duelist export`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the rehearsal. The same command goes on where it stopped."
        ),
    ] = Path("rehearsal"),
    rules: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Rules beside random (`duelist methods`). If not given: policy_gap, entropy, pa_d_opt, v_opt, and "
            "v_opt drawn with known probabilities.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME:key=value,...", help="A rule with settings, as in `duelist compare`."),
    ] = None,
    labels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Labels to spend in each study, a multiple of 8. If not given: half of the pairs that are left when "
            "the prompts with most pairs are held out, 800 at most.",
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="0:8", help="Seeds, `0:20` for 0 to 19. Fewer than 8 cannot establish a difference.")
    ] = "0:8",
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Language model (folder or Hub name) whose hidden states are the features."),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Embeddings of the responses as features (.npz with `id` and `embedding`). Without it and without "
            "--model, the features are words and lengths: no download, but they see less.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Parallel processes. If not given, one per core.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replay rules on preferences that you already have, and say what each would have saved.

    Nobody is asked anything. A quarter of the prompts is held out, others for each seed. Of the rest, each rule asks
    for labels in eight batches, the first at random; a small reward model learns from them and is tested on the
    held-out preferences. A saving is the share of the labels that a rule did not need to reach what random selection
    reached with all of them. Beside it stand its interval over the seeds, and how often chance seems to save as much.
    Fewer than 8 seeds claim nothing.

    Example: `duelist rehearse preferences.jsonl -o rehearsal`
    """
    quiet_libraries()
    from dataclasses import asdict

    from duelist.compare.arms import ArmSettings, parse_arm, parse_seeds
    from duelist.models.embeddings.config import EmbeddingConfig
    from duelist.recipe.values import listed_names
    from duelist.rehearsal.preparing import prepare_rehearsal
    from duelist.rehearsal.rehearsal import RULES, planned, require_comparable, run_rehearsal
    from duelist.rehearsal.rows import read_preferences
    from duelist.store.layout import require_folder_name

    if model is not None and embeddings is not None:
        raise RecipeError("The features come from one source, but got --model and --embeddings: leave one out.")
    require_folder_name(output)
    seed_list = parse_seeds(seeds)
    chosen = [ArmSettings(name, (f"acquisition={name}",)) for name in listed_names(rules, "--rules")] if rules else []
    chosen += [parse_arm(text) for text in arm or []]
    source = None
    if embeddings is not None:
        source = EmbeddingConfig(source="file", path=str(embeddings.resolve()))
    elif model is not None:
        source = EmbeddingConfig(source="hidden_states", model=model)
    progress = Silent() if quiet or as_json else TerminalProgress(err)
    require_comparable(chosen or RULES, seed_list)
    found = read_preferences(preferences)
    recipe = prepare_rehearsal(output, found, labels, source, progress)
    progress.note(
        f"{len(found.rows)} decided pairs on {len(found.pairs_of_prompt)} prompts; left out: {found.undecided} "
        f"undecided, {found.single} without two different responses and a label."
    )

    def on_outcome(outcome: Outcome) -> None:
        study = outcome.study
        end = f"{outcome.seconds:.1f} s" if outcome.error is None else f"failed: {outcome.error}"
        progress.note(f"{study.arm}, seed {study.seed}: {end}")

    result, failures = run_rehearsal(output, planned(recipe, chosen or RULES, seed_list), jobs, progress, on_outcome)
    if result is not None and as_json:
        print_json(asdict(result))
    elif result is not None and not quiet:
        for metric in result.metrics:
            out.print(_table(metric))
        for sentence in result.verdict:
            say(sentence)
        say(f"Curves: {output / 'curves.png'}; tables: {output / 'table.md'}")
    if failures:
        first = failures[0]
        err.print(
            f"[red]Error:[/red] {len(failures)} studies failed, the first in {escape(str(first.study.folder))}: "
            f"{escape(first.error)} Fix the cause, then run the same command again.",
            soft_wrap=True,
            highlight=False,
        )
        raise typer.Exit(1)


def _table(found: MetricSavings) -> Table:
    better = "higher" if found.higher_is_better else "lower"
    title = f"{found.metric} ({better} is better): random from {found.start:.4f} to {found.end:.4f}"
    table = Table(title=title, title_justify="left")
    names = ("rule", "saved", "95 % interval", "p", "end: rule − random", "end: found with 80 %")
    for name in names:
        table.add_column(name, justify="left" if name == "rule" else "right")
    for s in found.savings:
        table.add_row(
            s.rule,
            f"{100 * s.saving:.0f} %",
            f"{100 * s.low:.0f} to {100 * s.high:.0f} %",
            f"{s.p_value:.3f}",
            f"{s.final:+.4f} ({s.final_low:+.4f} to {s.final_high:+.4f})",
            f"{s.detectable:.4f}",
        )
    return table
