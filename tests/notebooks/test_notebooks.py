"""The notebooks of the documentation run from the first cell to the last, and are kept with their outputs.

`python tests/notebooks/test_notebooks.py` runs them and writes their outputs.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
SOON = 300  # seconds for a cell


def executed(path: Path) -> Any:
    """The notebook after a run in a fresh kernel and an empty folder; an error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=SOON, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of the run
    notebook.metadata.pop("language_info", None)
    return notebook


@pytest.mark.full
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_notebooks_run(path: Path) -> None:
    executed(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_with_their_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    drawn = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    assert drawn == sum("duelist.plot." in cell.source for cell in cells)
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output


if __name__ == "__main__":
    for own in NOTEBOOKS:
        nbformat.write(executed(own), own)
