"""The engine `local`, and sources that other processes cannot get."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from duelist.engines.base import Batch, Engine, Held, InMemory, Result, Source
from duelist.engines.conformance import Capital, Word, digest
from duelist.engines.local import Local
from duelist.engines.worker import Worker
from duelist.errors import NumericalError, RecipeError
from duelist.progress import Progress, Silent
from duelist.testing import check_engine
from pickled_workers import PickledWorkers


def test_local_keeps_the_contract() -> None:
    check_engine(Local())


def test_workers_keep_the_contract() -> None:
    check_engine(PickledWorkers())


class ByArrival(Engine):
    """Breaks the contract: the largest batch is finished last, and yielded last."""

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        return Local().map(source, task, sorted(batches, key=len), progress)  # type: ignore[arg-type]


class Forgetful(Engine):
    """Breaks the contract: it keeps the first source it saw."""

    source: Source[object] | None = None

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        self.source = self.source or source  # type: ignore[assignment]
        return Local().map(self.source, task, batches, progress)  # type: ignore[arg-type]


class Mixing(Engine):
    """Breaks the contract: it gives a source what one of another kind loaded."""

    held: object | None = None

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        self.held = source.load(self.held)  # type: ignore[arg-type]
        return Local().map(InMemory(self.held), task, batches, progress)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", [ByArrival(), Forgetful()])
def test_the_kit_finds_engines_that_break_the_contract(engine: Engine) -> None:
    with pytest.raises(AssertionError, match="in the order of the batches"):
        check_engine(engine)


def test_the_kit_finds_engines_that_mix_kinds_of_sources() -> None:
    with pytest.raises(NumericalError, match="keep kinds apart"):
        check_engine(Mixing())


def test_a_batch_is_computed_when_its_result_is_asked_for() -> None:
    seen: list[int] = []
    results = Local().map(InMemory(seen), list.append, [1, 2, 3], progress=None)  # type: ignore[arg-type]
    next(results)
    next(results)
    assert seen == [1, 2]


class Prepared:
    """A task with a state that takes long to bring about."""

    def __init__(self) -> None:
        self.entered: list[int] = []

    @contextmanager
    def prepared(self, held: int) -> Iterator[None]:
        self.entered.append(held)
        yield
        self.entered.append(-held)

    def __call__(self, held: int, batch: int) -> tuple[int, ...]:
        return (batch, *self.entered)


def test_the_state_of_a_task_is_entered_once_for_all_batches() -> None:
    task = Prepared()
    assert list(Local().map(InMemory(7), task, [1, 2], Silent())) == [(1, 7), (2, 7)]
    assert task.entered == [7, -7]


def test_a_model_in_memory_is_not_sent_elsewhere() -> None:
    held = object()
    assert InMemory(held).load(None) is held
    with pytest.raises(RecipeError, match="engine `local`"):
        pickle.dumps(InMemory(held))


class Loads(Source[list[str]]):
    """Source that counts its loads, and fails at some of them."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails, self.given = name, fails, []  # type: ignore[var-annotated]

    def load(self, held: list[str] | None) -> list[str]:
        self.given.append(held)
        if self.fails:
            raise ValueError(self.name)
        return [self.name]


def test_a_worker_loads_a_source_once_and_hands_on_what_it_held() -> None:
    worker, first, second = Worker(), Loads("first"), Loads("second")
    assert [worker.compute((first, digest), [i]) for i in (1, 2)] == [digest(["first"], [i]) for i in (1, 2)]
    assert first.given == [None]
    assert worker.compute((second, digest), [1]) == digest(["second"], [1])
    assert second.given == [["first"]]


def test_a_worker_holds_what_each_kind_of_source_loads() -> None:
    worker, first = Worker(), Loads("first")
    found = [worker.compute((source, digest), [1]) for source in (first, Capital("b"), first, Capital("b"))]
    assert found == [digest(["first"], [1]), digest(["B"], [1])] * 2
    assert first.given == [None]


def test_a_worker_holds_nothing_after_a_load_that_failed() -> None:
    worker, broken = Worker(), Loads("broken", fails=True)
    worker.compute((Loads("a"), digest), [1])
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            worker.compute((broken, digest), [1])
    assert broken.given == [["a"], None]
    assert worker.compute((Word("a"), digest), [1]) == digest(["a"], [1])
