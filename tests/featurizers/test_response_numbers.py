"""Numbers of responses, computed into a cache: what is computed again, with what, and to which bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from duelist import Study, parse_recipe
from duelist.featurizers import feature_folder, gradient
from duelist.featurizers.base import FeatureJob, distinct_responses, featurize
from duelist.featurizers.feature_folder import FeatureCache
from duelist.featurizers.gradient import Gradient, GradientConfig, pair_gradients
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.models.trained import Models
from duelist.progress import Advance, Progress, Silent
from duelist.types import Features, Prompt, Question, Response
from outcomes import require_equal, smaller
from tiers import first
from tiny_models import random_sequences, tiny_model, with_lora

EVERYTHING = frozenset({"gradient_ND", "margin_N", "log_ratio_N2", "prompt_entropy_N"})


class Killed(BaseException):
    """Stands for the end of the process."""


class Noting(Progress):
    """Keeps what it is told; dies with the step it is told to die with."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.steps, self.notes = last, [], []  # type: ignore[var-annotated]

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            self.steps.append((description, steps))
            if len(self.steps) == self.last:
                raise Killed

        yield advance

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many responses gradients were taken, call by call; what was computed counts at once."""
    monkeypatch.setattr(feature_folder, "SAVE_SECONDS", 0.0)
    found: list[int] = []
    engine = LoraGradients.__call__

    def counting(self: LoraGradients, sequences: Any, *rest: Any, **more: Any) -> Any:
        found.append(len(sequences))
        return engine(self, sequences, *rest, **more)

    monkeypatch.setattr(LoraGradients, "__call__", counting)
    return found


def tiny_policy(family: str, dtype: torch.dtype = torch.float32) -> Policy:
    model = with_lora(tiny_model(family, dtype=dtype))
    return Policy.of(model, SimpleNamespace(eos_token_id=1))


def random_pairs(count: int, seed: int = 0, longest: int = 14) -> list[Question]:
    """Pairs whose responses have all lengths."""
    prompt = Prompt.of("x")
    found = [
        Response.of(prompt, str(i), s.prompt_ids, s.response_ids, 1)
        for i, s in enumerate(random_sequences(2 * count, seed, longest))
    ]
    return [Question.pair(a, b, 1) for a, b in zip(found[::2], found[1::2], strict=True)]


def features(
    policy: Policy, pairs: list[Question], cache: FeatureCache, progress: Progress | None = None, **settings: Any
) -> Features:
    job = FeatureJob(Models(policy), pairs, [], {}, 0.5, 7, progress or Silent(), cache=cache)
    config = GradientConfig(**{"dimension": 16, "max_tokens": 40, **settings})
    return featurize([Gradient(config)], EVERYTHING, job)


def require_same_bits(found: Features, expected: Features) -> None:
    for name in EVERYTHING:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), name


@pytest.mark.parametrize(("family", "dtype"), [("llama", torch.float32), ("llama", torch.float64), ("phi3", None)])
def test_batches_are_those_of_all_responses_together(family: str, dtype: torch.dtype | None, tmp_path: Path) -> None:
    """Also across the length beyond which LongRoPE encodes positions in another way."""
    policy, pairs = tiny_policy(family, dtype or torch.float32), random_pairs(20)
    responses, index_N2 = distinct_responses(pairs)
    lengths = {s.input_length for s in tokenized(responses)}
    assert min(lengths) < 8 < max(lengths)
    engine = LoraGradients(policy.model, dimension=16, seed=7, max_tokens=40)
    policy_R, gradient_RD = engine(tokenized(responses))
    with policy.as_reference():
        reference_R = sequence_log_probs(policy.model, tokenized(responses), max_tokens=40)
    found = features(policy, pairs, FeatureCache(tmp_path / "features"))
    assert found.gradient_ND is not None and found.log_ratio_N2 is not None
    assert found.gradient_ND.dtype == gradient_RD.dtype
    expected_ND = pair_gradients(gradient_RD, index_N2, 0.5, "response")
    assert found.gradient_ND.tobytes() == expected_ND.tobytes()
    assert found.log_ratio_N2.tobytes() == (policy_R - reference_R)[index_N2].tobytes()


def test_a_kill_at_any_step_changes_no_bit_and_repeats_no_batch(calls: list[int], tmp_path: Path) -> None:
    policy, pairs = tiny_policy("llama"), random_pairs(8)
    undisturbed = Noting()
    expected = features(policy, pairs, FeatureCache(), undisturbed, max_tokens=80)
    batches = calls.copy()
    calls.clear()
    assert len(batches) >= 3 and max(batches) > 2
    for last in range(1, len(undisturbed.steps) + 1):
        cache = FeatureCache(tmp_path / str(last))
        with pytest.raises(Killed):
            features(policy, pairs, cache, Noting(last), max_tokens=80)
        require_same_bits(features(policy, pairs, cache, max_tokens=80), expected)
        assert calls == batches, last
        calls.clear()


def test_a_batch_of_which_a_row_is_missing_is_computed_whole(calls: list[int], tmp_path: Path) -> None:
    """So that it rounds as it would have: the company of a response decides its last bits."""
    policy, pairs = tiny_policy("llama"), random_pairs(8)
    expected = features(policy, pairs, FeatureCache(), max_tokens=80)
    batches = calls.copy()
    calls.clear()
    with pytest.raises(Killed):
        features(policy, pairs, FeatureCache(tmp_path), Noting(2), max_tokens=80)
    names = ["key", "has", "batch", "policy", "reference", "scale", "shard", "at"]
    record = np.dtype(list(zip(names, ["<u8", "u1", "<i8", "<f8", "<f8", "<f8", "<u8", "<i4"], strict=True)))
    rows = np.memmap(tmp_path / "rows.bin", dtype=record, mode="r+")
    done = np.flatnonzero(rows["has"])
    assert len(done) == batches[0] + batches[1] and batches[1] > 1
    rows["has"][done[rows["batch"][done].argmax()]] = 0  # as if the process had died between two rows
    rows.flush()
    calls.clear()
    require_same_bits(features(policy, pairs, FeatureCache(tmp_path), max_tokens=80), expected)
    assert calls == batches[1:]


def test_a_pool_that_grew_after_a_kill_keeps_what_was_computed(calls: list[int], tmp_path: Path) -> None:
    """Every batch planned over the larger pool would hold a new response."""
    policy, pairs, more = tiny_policy("llama"), random_pairs(8), random_pairs(8, seed=1)
    with pytest.raises(Killed):
        features(policy, pairs, FeatureCache(tmp_path), Noting(2), max_tokens=80)
    done = sum(calls)
    assert 0 < done < 16
    calls.clear()
    found = features(policy, [*more, *pairs], FeatureCache(tmp_path), max_tokens=80)
    assert sum(calls) == 32 - done
    fresh = features(policy, [*more, *pairs], FeatureCache(), max_tokens=80)
    np.testing.assert_allclose(found.gradient_ND, fresh.gradient_ND, atol=1e-5)
    calls.clear()
    features(policy, pairs[3:], FeatureCache(tmp_path))
    assert calls == []


@pytest.mark.parametrize("damage", first(2, ["model", "gradient.bin", "seed", "format"]))
def test_a_disposable_cache_that_does_not_fit_is_begun_anew(
    damage: str, calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, pairs = tiny_policy("llama"), random_pairs(6)
    cache = FeatureCache(tmp_path, disposable=True)
    first = features(policy, pairs, cache)
    calls.clear()
    require_same_bits(features(policy, pairs, cache), first)
    assert calls == []
    if damage == "model":
        policy.model.config.rms_norm_eps = 0.1
    elif damage == "gradient.bin":
        (tmp_path / "gradient.bin").write_bytes(b"")
    elif damage == "format":
        state = (tmp_path / "state.json").read_text()
        (tmp_path / "state.json").write_text(state.replace('"format": 4', '"format": 3'))
    else:
        state = (tmp_path / "state.json").read_text()
        (tmp_path / "state.json").write_text(state.replace('"seed": 7', '"seed": 8'))
    found = features(policy, pairs, cache)
    assert sum(calls) == 12
    if damage != "model":
        require_same_bits(found, first)


@pytest.mark.parametrize("normalize", first(2, ["pair", "token", "response", "none"]))
def test_blocks_and_files_change_no_bit_of_a_study(
    normalize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, pairs = tiny_policy("llama"), random_pairs(20)
    cache = FeatureCache(tmp_path, disposable=True)
    expected = features(policy, pairs, cache, normalize=normalize)
    monkeypatch.setattr(gradient, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(gradient, "PAIRS_AT_ONCE", 3)
    found = features(policy, pairs, cache, normalize=normalize)
    assert isinstance(found.gradient_ND, np.memmap)
    require_same_bits(found, expected)


def test_small_gradients_survive_float16(tmp_path: Path) -> None:
    """Their own numbers would underflow: they are kept scaled to unit norm, and the norm beside them."""
    policy, pairs = tiny_policy("llama"), random_pairs(20)
    for parameter in (p for name, p in policy.model.named_parameters() if "lora_" in name):
        parameter.data *= 1e-8
    exact = features(policy, pairs, FeatureCache(), normalize="none").gradient_ND
    assert exact is not None and 0 < np.abs(exact).max() < 1e-6
    half = features(policy, pairs, FeatureCache(tmp_path, "float16"), normalize="none").gradient_ND
    assert (tmp_path / "gradient.bin").stat().st_size == 40 * 16 * 2
    np.testing.assert_allclose(half, exact, atol=2e-3 * np.abs(exact).max())


def test_that_a_frozen_adapter_counts_whole_is_said_without_a_folder() -> None:
    policy, progress = tiny_policy("llama"), Noting()
    policy.model.requires_grad_(False)
    features(policy, random_pairs(2), FeatureCache(), progress)
    assert [note for note in progress.notes if "No matrix of the adapter is trained" in note]


@pytest.mark.full
def test_a_study_that_died_in_its_features_goes_on_to_the_same_bits(
    calls: list[int], tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine raises in round 2, in the middle of the gradients of candidates and past pairs."""
    featurizers = {"gradient": {"dimension": 64, "max_tokens": 40}}
    recipe = parse_recipe({**smaller(tiny_recipe), "featurizers": featurizers})
    folder, undisturbed = tmp_path / "study", tmp_path / "undisturbed"
    with Study.create(undisturbed, recipe) as study:
        study.run()
    batches = calls.copy()
    calls.clear()
    counting: Callable[..., Any] = LoraGradients.__call__

    def dying(self: LoraGradients, *arguments: Any, **more: Any) -> Any:
        if len(calls) == len(batches) - 2:
            raise Killed
        return counting(self, *arguments, **more)

    monkeypatch.setattr(LoraGradients, "__call__", dying)
    with pytest.raises(Killed), Study.create(folder, recipe) as study:
        study.run()
    assert study.folder.stage(2, "select") is None and (folder / "rounds/002/.features").is_dir()
    monkeypatch.setattr(LoraGradients, "__call__", counting)
    with Study.open(folder) as study:
        study.run()
    assert calls == batches
    require_equal(folder, undisturbed)
    assert not list(folder.rglob(".features"))
