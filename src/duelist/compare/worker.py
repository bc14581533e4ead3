"""Worker process that runs a comparison's studies one after another. It is set up before any heavy import."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from duelist.errors import DuelistError, described


def serve(jobs: connection.Connection, threads: int) -> None:
    """Run each study received and send back its outcome, until the other side closes.

    A job is a folder and a recipe's content. The answer is a dictionary with `seconds`, `error` (None or a message)
    and `details` (None or the traceback of an error that a component raised).

    Args:
        jobs: connection that delivers studies and takes answers.
        threads: threads of the numerical libraries, as the recipes' `torch_threads`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when the libraries are imported below
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.dup2(2, 1)  # standard output is for the command's own results
    from duelist.progress import quiet_libraries

    quiet_libraries()
    while True:
        try:
            folder, content = jobs.recv()
        except EOFError:
            return
        jobs.send(_run(folder, content))
        # Freeze the libraries' objects: otherwise, TRL's garbage collection after each training scans all of them.
        gc.collect()
        gc.freeze()


def _run(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    from duelist.recipe.reading import saved_recipe
    from duelist.study.study import Study

    began = time.monotonic()
    error = details = None
    try:
        with Study.create(folder, saved_recipe(content)) as study:
            study.run()
    except DuelistError as failure:
        error = str(failure.args[-1]) if isinstance(failure, OSError) and failure.args else str(failure)
        details = traceback.format_exc() if failure.__cause__ is not None else None
    except BaseException as failure:  # user code may raise anything: the other studies continue
        error, details = described(failure), traceback.format_exc()
    return {"seconds": time.monotonic() - began, "error": error, "details": details}


def _end_with_parent() -> None:
    """End this process when its parent ends, even by `kill -9`. A study can resume from any moment."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
