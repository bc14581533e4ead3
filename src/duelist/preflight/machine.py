"""What this machine has for Duelist: versions, devices, threads, memory, disk, network (`duelist doctor`)."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from duelist.recipe.preparation import cache_folder
from duelist.settings.network import ENDPOINT, OFFLINE, hub_answers

State = Literal["ok", "note", "missing"]
FREE = 2 * 2**30  # bytes of disk that a small study needs
GIB = 2**30
# What does not work without an extra; extras that only developers need are not listed.
EXTRAS = {
    "annotate": "`duelist annotate`, and the statistics of people's votes",
    "embeddings": "embeddings by sentence-transformers models",
    "postgresql": "a ledger of people's acts on PostgreSQL",
    "ray": "workers of Ray (`engine: ray`)",
    "tracking": "trackers without an account (`report_to: [trackio, tensorboard]`)",
}


@dataclass(frozen=True)
class Finding:
    """One fact about the machine.

    Attributes:
        about: the subject.
        found: what was found.
        state: `missing`: Duelist cannot work; `note`: something will not work, or was not tested; else `ok`.
        remedy: what will not work and what to do; empty if nothing has to be done.
    """

    about: str
    found: str
    state: State = "ok"
    remedy: str = ""


def examine_machine() -> Iterator[Finding]:
    """Yield what this machine has, what is missing, and what will not work. Nothing is changed."""
    yield from _versions()
    yield from _resources()
    yield _network()
    yield from _devices()  # last: importing torch takes seconds


def constrained_versions() -> dict[str, str]:
    """Return the versions that were tested together, by package; empty if their list is not installed."""
    file = _shipped("constraints.txt")
    lines = [] if file is None else file.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {_canonical(name): version.strip() for name, version in pairs}


def requirements() -> list[str]:
    """Return the package's requirements, those of extras with their marker, as pyproject.toml states them."""
    file = _shipped("pyproject.toml")
    if file is None:  # an installed package has its metadata instead
        return list(importlib.metadata.requires("duelist") or [])
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return [*project["dependencies"], *(f'{r}; extra == "{name}"' for name, some in extras for r in some)]


def _shipped(name: str) -> Path | None:
    """Return a file of the project: inside an installed package, or beside `src` in a checkout."""
    package = Path(__file__).parents[1]
    return next((p for p in (package / name, package.parents[1] / name) if p.is_file()), None)


def _canonical(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    old = sys.version_info < (3, 11)
    remedy = "Duelist needs Python 3.11 or newer: install one." if old else ""
    yield Finding("Python", f"{platform.python_version()} on {platform.system()}", "missing" if old else "ok", remedy)
    tested, of_extras = constrained_versions(), dict[str, list[str]]()
    for text in requirements():
        needed = Requirement(text)
        wanted_by = (e for e in ("", *EXTRAS) if needed.marker is None or needed.marker.evaluate({"extra": e}))
        extra = next(wanted_by, None)
        if extra is None:
            continue
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        fits = version is not None and needed.specifier.contains(version, prereleases=True)
        if not extra:
            yield _version(needed.name, str(needed.specifier), version, fits, tested.get(_canonical(needed.name)))
            continue
        missing = of_extras.setdefault(extra, [])
        if not fits:
            missing.append(needed.name)
    for extra, missing in of_extras.items():
        found = f"not installed: {', '.join(missing)}" if missing else "installed"
        remedy = f'Without it: no {EXTRAS[extra]}. `pip install "duelist[{extra}]"`' if missing else ""
        yield Finding(f"extra `{extra}`", found, "note" if missing else "ok", remedy)


def _version(name: str, wanted: str, version: str | None, fits: bool, tested: str | None) -> Finding:
    install = "install it with `pip install -c constraints.txt .`"
    if version is None:
        return Finding(name, "not installed", "missing", f"Duelist needs {name}{wanted}: {install}.")
    if not fits:
        return Finding(name, version, "missing", f"Duelist needs {name}{wanted}, but {version} is here: {install}.")
    if tested is not None and version.partition("+")[0] != tested:
        return Finding(name, version, "note", f"Tested with {tested}; if something fails, {install}.")
    return Finding(name, version)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a wheel for another machine raises OSError
        yield Finding("device", "unknown", "missing", f"torch must import, but does not: {error}. Install it again.")
        return
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            bf16 = "" if torch.cuda.is_bf16_supported() else ", no bfloat16"
            name = torch.cuda.get_device_name(i)
            yield Finding(f"device cuda:{i}", f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free{bf16}")
    elif torch.version.cuda is not None:
        remedy = "torch was built for CUDA and sees no GPU: everything runs on the CPU. Check `nvidia-smi`."
        yield Finding("device", "cpu", "note", remedy)
    else:
        yield Finding("device", "cpu")
    threads = f"{_cores()} cores, {torch.get_num_threads()} threads of torch"
    spins = _cores() > 1 and os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE"
    remedy = "Waiting OpenMP threads spin, which slows torch down on a busy machine: unset OMP_WAIT_POLICY."
    yield Finding("CPU", threads, "note" if spins else "ok", remedy if spins else "")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resources() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("memory", f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available")
    for about, folder in (("disk, studies", Path.cwd()), ("disk, cache", cache_folder())):
        yield _disk(about, folder)


def _disk(about: str, folder: Path) -> Finding:
    existing = next((p for p in (folder, *folder.absolute().parents) if p.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if not os.access(existing, os.W_OK):
        return Finding(about, found, "missing", f"{existing} must be writable: correct its permissions.")
    few = f"A small study needs about {FREE / GIB:.0f} GiB: free some." if free < FREE else ""
    return Finding(about, found, "note" if few else "ok", few)


def _network() -> Finding:
    if os.environ.get(OFFLINE, "0").upper() in ("1", "TRUE", "YES", "ON"):
        return Finding("Hugging Face Hub", f"not asked: {OFFLINE} is set", "note", "Models and data must be local.")
    if hub_answers():
        return Finding("Hugging Face Hub", "answers")
    remedy = f"Models and data must be local, or correct the network, the proxy or {ENDPOINT}."
    return Finding("Hugging Face Hub", "does not answer within a second", "note", remedy)


def is_usable(findings: Sequence[Finding]) -> bool:
    """Return whether nothing that Duelist needs is missing."""
    return all(f.state != "missing" for f in findings)
