"""The implementation of `duelist select`: picks written to a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from duelist.errors import RecipeError, StorageError, unwritable_as_storage_error
from duelist.featurizers.gradient import Normalize
from duelist.recipe.values import override
from duelist.selection.choice import Dtype, Picks, select
from duelist.selection.pool import Pool
from duelist.settings.validation import expanded
from duelist.store.artifacts import write_jsonl


def select_to_file(
    output: Path,
    pool: Pool,
    model: str,
    *,
    acquisition: str,
    settings: Iterable[str] = (),
    normalize: str = "response",
    dtype: str = "float32",
    keep_columns: bool = False,
    **arguments: Any,
) -> Picks:
    """Run `select`, and write the picks to a JSON Lines file in pick order, as `duelist select` does.

    Args:
        output: the output file.
        pool: see `select`.
        model: see `select`.
        acquisition: the rule's name or dotted path.
        settings: the rule's settings, each `key=value` with the value in YAML.
        normalize: see `select`.
        dtype: see `select`.
        keep_columns: write the rows' other columns too, with score and reason (see `Pick.as_row`).
        **arguments: see `select`.

    Raises:
        RecipeError: if a setting is not usable.
        StorageError: if the output file cannot be written, or is one of the inputs.
        DuelistError: see `select`.
    """
    for name, value, known in (("normalize", normalize, Normalize), ("dtype", dtype, Dtype)):
        if value not in get_args(known):
            raise RecipeError(f"`{name}` must be one of {', '.join(get_args(known))}, but got {value!r}.")
    component: dict[str, Any] = {"name": acquisition}
    for setting in settings:
        override(component, setting)
    sources = [pool, arguments.get("labelled"), arguments.get("targets")]
    _require_output(output, [expanded(x) for x in sources if isinstance(x, str | Path)])
    picks = select(pool, model, acquisition=component, normalize=normalize, dtype=dtype, **arguments)  # type: ignore[arg-type]
    with unwritable_as_storage_error(output):
        write_jsonl(output, (pick.as_row(keep_columns=keep_columns) for pick in picks))
    return picks


def _require_output(output: Path, sources: Iterable[Path]) -> None:
    """Check before the work starts that its result can be written and would not overwrite an input.

    Raises:
        StorageError: if it cannot be written, or would overwrite an input.
    """
    if output.suffix in (".parquet", ".gz"):
        raise StorageError(f"The output is JSON Lines, but {output} is named otherwise: let its name end in .jsonl.")
    same = [x for x in sources if x.exists() and output.exists() and output.samefile(x)]
    if same:
        raise StorageError(f"The output must not take the place of an input, but both are {output}: give another name.")
    with unwritable_as_storage_error(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir():
            raise IsADirectoryError("it is a folder")
        with tempfile.TemporaryFile(dir=output.parent):
            pass
