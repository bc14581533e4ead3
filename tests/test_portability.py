"""Nothing that only POSIX has is used without a guard, so that the package can be tried on Windows and macOS.

Only Linux is run by the tests: this reads the source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "duelist"
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NAMES = {
    "os": {
        "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid",
        "getgid", "getloadavg", "getpgid", "getpgrp", "getuid", "killpg", "lchown", "mkfifo", "nice", "openpty",
        "posix_fadvise", "posix_fallocate", "pread", "pwrite", "register_at_fork", "sched_getaffinity", "sched_yield",
        "setgid", "setpgid", "setsid", "setuid", "statvfs", "sync", "sysconf", "uname", "wait3", "wait4",
    },
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm",
        "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
    },
    "multiprocessing": {"fork", "forkserver"},
}  # fmt: skip
# A source without any of these is not parsed, which would take most of the time.
ANY = re.compile(rf"\b({'|'.join([*MODULES, *(n for names in NAMES.values() for n in names), 'get_context'])})\b")
PLATFORM = ("sys.platform", "os.name", "platform.system")


def unguarded(source: str) -> list[str]:
    """The uses of a POSIX-only name or module in a source that no test of the platform precedes, with their lines."""
    if not ANY.search(source):
        return []
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return [f"{node.lineno}: {name}" for node, name in uses(tree) if not is_guarded(node, name, parents)]


def uses(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NAMES.get(node.value.id, ()):
                yield node, node.attr
        elif isinstance(node, ast.Import):
            yield from ((node, a.name) for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, a.name) for a in node.names if a.name in NAMES.get(node.module or "", ()))
            if node.module in MODULES:
                yield node, node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_context"):
            yield from ((node, str(a.value)) for a in node.args if isinstance(a, ast.Constant) and a.value != "spawn")


def is_guarded(node: ast.AST, name: str, parents: dict[ast.AST, ast.AST]) -> bool:
    while node in parents:
        child, node = node, parents[node]
        if isinstance(node, ast.If | ast.IfExp) and asks(node.test, name):
            return True
        if isinstance(node, ast.Try) and any("Error" in ast.unparse(h.type or node) for h in node.handlers):
            return child in node.body and name in MODULES
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            before = body[: body.index(child)] if isinstance(body, list) and child in body else []
            if any(isinstance(s, ast.If) and asks(s.test, name) and leaves(s) for s in before):
                return True
    return False


def asks(test: ast.expr, name: str) -> bool:
    text = ast.unparse(test)
    return any(platform in text for platform in PLATFORM) or ("hasattr" in text and repr(name) in text)


def leaves(statement: ast.If) -> bool:
    return isinstance(statement.body[-1], ast.Return | ast.Raise)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.fork()",
        "import fcntl",
        "from signal import SIGKILL",
        "import multiprocessing\nmultiprocessing.get_context('forkserver')",
        "def f():\n    if x:\n        return\n    os.getuid()",
        "def f():\n    os.getuid()\n    if sys.platform == 'win32':\n        return",
    ],
)
def test_a_use_without_a_guard_is_found(source: str) -> None:
    assert len(unguarded(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "if hasattr(os, 'fork'):\n    os.fork()",
        "n = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1",
        "def f():\n    if sys.platform == 'win32':\n        return\n    import resource",
        "try:\n    import fcntl\nexcept ImportError:\n    pass",
        "multiprocessing.get_context('spawn')",
        "import os\nos.replace(a, b)",
    ],
)
def test_a_guarded_use_and_what_every_system_has_are_not(source: str) -> None:
    assert not unguarded(source)


def test_the_package_uses_nothing_without_a_guard_that_only_posix_has() -> None:
    found = {p.relative_to(SOURCE).as_posix(): unguarded(p.read_text(encoding="utf-8")) for p in SOURCE.rglob("*.py")}
    assert len(found) > 300
    assert {name: lines for name, lines in found.items() if lines} == {}
