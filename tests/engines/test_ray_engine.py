"""The engine `ray`: its contract, and what it recovers from. One cluster serves all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ray_work import Begun, DiesOnce, FailsOnce, dies, fails

from duelist.engines.conformance import Word, digest
from duelist.engines.ray import RayConfig, RayEngine
from duelist.errors import EngineError, RecipeError
from duelist.progress import Silent
from duelist.testing import check_engine

BATCHES = [[i, i + 1] for i in range(12)]
EXPECTED = [digest(["a"], batch) for batch in BATCHES]
pytestmark = pytest.mark.full


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def engine(**settings: Any) -> RayEngine:
    return RayEngine(RayConfig(**{"workers": 2, "object_store_mib": 128, **settings}))


@pytest.fixture
def two(cluster: None) -> Iterator[RayEngine]:
    """Two workers."""
    found = engine()
    yield found
    found.close()


def test_ray_keeps_the_contract(two: RayEngine) -> None:
    check_engine(two)


def test_a_cluster_of_ours_listens_on_this_machine_alone(cluster: None) -> None:
    import psutil

    listening = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # workers come and go
            listening |= {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening and all(ip.rpartition(":")[2] == "127.0.0.1" for ip in listening), listening


def test_a_worker_killed_in_the_middle_of_a_batch_is_replaced(two: RayEngine, tmp_path: Path) -> None:
    told = Notes()
    for at in (BATCHES[0], BATCHES[7]):
        task = DiesOnce(digest, tmp_path / str(at[0]), at)
        assert list(two.map(Word("a"), task, BATCHES, told)) == EXPECTED
        assert (tmp_path / str(at[0])).exists()
    assert told.notes == ["A worker ended before its work was done, and was replaced."] * 2


def test_the_only_worker_is_replaced_too(cluster: None, tmp_path: Path) -> None:
    alone = engine(workers=1, queued=3)
    assert list(alone.map(Word("a"), DiesOnce(digest, tmp_path / "flag"), BATCHES, Silent())) == EXPECTED
    alone.close()


def test_a_batch_that_kills_every_worker_ends_the_run(cluster: None) -> None:
    alone = engine(workers=1, retries=1, queued=1)
    with pytest.raises(EngineError, match=r"within 2 tries, .* its worker ended \(ActorDiedError\)"):
        list(alone.map(Word("a"), dies, BATCHES[:1], Silent()))
    assert list(alone.map(Word("a"), digest, BATCHES, Silent())) == EXPECTED
    alone.close()


def test_a_batch_that_failed_is_tried_again(two: RayEngine, tmp_path: Path) -> None:
    told = Notes()
    assert list(two.map(Word("a"), FailsOnce(digest, tmp_path / "flag"), BATCHES, told)) == EXPECTED
    assert told.notes == ["A batch failed and is tried again: OSError: a hiccup"]
    with pytest.raises(EngineError, match=r"within 3 tries, .* because of OSError: always"):
        list(two.map(Word("a"), fails, BATCHES, Silent()))


def test_few_batches_are_begun_ahead_of_the_results(two: RayEngine, tmp_path: Path) -> None:
    results = two.map(Word("a"), Begun(tmp_path), range(100), Silent())
    for taken in range(1, 31):
        next(results)
        assert len(list(tmp_path.iterdir())) <= taken - 1 + 2 * 2 * 3
    assert list(results) == list(range(30, 100))


def test_more_workers_than_the_cluster_has_room_for_are_refused(cluster: None) -> None:
    with pytest.raises(RecipeError, match="9 workers need 9 CPUs and it has 2"):
        list(engine(workers=9).map(Word("a"), digest, BATCHES, Silent()))
    with pytest.raises(RecipeError, match="2 workers need 1 GPUs and it has 0"):
        list(engine(gpus=0.5).map(Word("a"), digest, BATCHES, Silent()))


def test_a_cluster_that_does_not_start_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(EngineError, match=r"timed out during startup\. Run the same command again"):
        list(engine().map(Word("a"), digest, BATCHES, Silent()))
