"""Gradients that workers wrote: the same bits as those computed in this process, found again, and checked."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from test_response_numbers import EVERYTHING, Killed, Noting, random_pairs, require_same_bits, tiny_policy

from duelist.engines.base import Batch, Engine, Held, InMemory, Result, Source
from duelist.errors import StorageError
from duelist.featurizers.base import FeatureJob, featurize
from duelist.featurizers.feature_folder import FeatureCache
from duelist.featurizers.gradient import Gradient, GradientConfig
from duelist.featurizers.shards import Shard, ShardFolder, ShardReader, stored_rows
from duelist.files import atomic
from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.progress import Progress, Silent
from duelist.types import Features


@final
@dataclass
class Elsewhere(Engine):
    """Computes here, with a task, batches and results that went through another process's door."""

    bytes_returned: int = 0

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        held = source.load(None)
        for batch in batches:
            task, batch = pickle.loads(pickle.dumps((task, batch)))
            result = pickle.dumps(task(held, batch))
            self.bytes_returned += len(result)
            yield pickle.loads(result)


def features(
    policy: Policy, cache: FeatureCache, engine: Engine | None = None, progress: Progress | None = None
) -> Features:
    models = Models(policy) if engine is None else Models(policy, engine=engine, kept=InMemory(policy))
    job = FeatureJob(models, random_pairs(12), [], {}, 0.5, 7, progress or Silent(), cache=cache)
    return featurize([Gradient(GradientConfig(dimension=128, max_tokens=60))], EVERYTHING, job)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("precision", ["computed", "float16"])
def test_shards_give_the_bits_of_one_process(dtype: torch.dtype, precision: Any, tmp_path: Path) -> None:
    policy = tiny_policy("llama", dtype)
    expected = features(policy, FeatureCache(tmp_path / "here", precision))
    engine = Elsewhere()
    found = features(policy, FeatureCache(tmp_path / "there", precision), engine)
    require_same_bits(found, expected)
    assert not (tmp_path / "there" / "gradient.bin").exists()  # nothing takes room twice
    stored = sum(path.stat().st_size for path in (tmp_path / "there" / "shards").iterdir())
    assert stored >= 24 * 128 * (2 if precision == "float16" else 4)
    assert engine.bytes_returned < stored  # the gradients themselves were not sent
    require_same_bits(features(policy, FeatureCache(tmp_path / "there", precision)), expected)
    temporary = Elsewhere()
    require_same_bits(features(policy, FeatureCache(None, precision), temporary), expected)
    assert temporary.bytes_returned > 24 * 128 * 4  # no other machine could read the files


def test_a_cache_begun_here_goes_on_elsewhere_and_back(tmp_path: Path) -> None:
    policy, cache = tiny_policy("llama"), FeatureCache(tmp_path)
    expected = features(policy, FeatureCache())
    for engine, last in ((None, 1), (Elsewhere(), 2), (None, 2)):
        with pytest.raises(Killed):
            features(policy, cache, engine, Noting(last))
    orphan = ShardFolder(tmp_path / "shards", "float32").write(np.ones((3, 128), np.float32))
    require_same_bits(features(policy, cache, Elsewhere()), expected)
    assert (tmp_path / "gradient.bin").exists() and list((tmp_path / "shards").iterdir())
    assert not ShardFolder(tmp_path / "shards", "float32").path(orphan.digest).exists()  # no row refers to it


def test_a_damaged_shard_is_named_and_a_lost_one_is_computed_again(tmp_path: Path) -> None:
    policy = tiny_policy("llama")
    expected = features(policy, FeatureCache(tmp_path), Elsewhere())
    path = sorted((tmp_path / "shards").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match=rf"{path.name} is gone or damaged.*another digest.*--features"):
        features(policy, FeatureCache(tmp_path))
    path.unlink()
    with pytest.raises(StorageError, match=path.name):
        features(policy, FeatureCache(tmp_path))
    require_same_bits(features(policy, FeatureCache(tmp_path, disposable=True), Elsewhere()), expected)


def test_the_same_content_is_one_file_and_its_rows_are_read(tmp_path: Path) -> None:
    rows_BD = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    shards = ShardFolder(tmp_path / "shards", "float16")
    first, second = shards.write(rows_BD), shards.write(rows_BD)
    assert isinstance(first, Shard) and first.digest == second.digest
    assert [path.name for path in shards.folder.iterdir()] == [shards.path(first.digest).name]
    stored_BD, scale_B = stored_rows(rows_BD, np.dtype(np.float16))
    found_SD = ShardReader(shards).read(first.digest, np.array([4, 0], np.int32))
    assert found_SD.dtype == np.float16 and found_SD.tobytes() == stored_BD[[4, 0]].tobytes()
    np.testing.assert_allclose(found_SD * first.scale_B[[4, 0], None], rows_BD[[4, 0]], atol=2e-3)
    np.testing.assert_allclose(scale_B, np.linalg.norm(rows_BD, axis=1), rtol=1e-6)


def test_a_shard_that_is_named_has_its_name_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards, at_sync = ShardFolder(tmp_path, "float32"), list[set[str]]()

    def noting(path: Path) -> None:
        if path == tmp_path:
            at_sync.append({p.name for p in tmp_path.iterdir()})

    monkeypatch.setattr(atomic, "_sync", noting)
    digest = shards.write(np.ones((2, 3), np.float32)).digest
    assert at_sync[-1] == {shards.path(digest).name}
