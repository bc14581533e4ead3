"""Features where some questions have more than two responses: a row per response, of which the pairs' follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist.errors import RecipeError
from duelist.featurizers import gradient as gradient_module
from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses, featurize
from duelist.featurizers.embedding import Embedding, EmbeddingFeaturizerConfig
from duelist.featurizers.gradient import Gradient, GradientConfig
from duelist.featurizers.margin import Margin, MarginFeaturizerConfig
from duelist.featurizers.reward_head import RewardHead
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import encode_responses
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.network import RewardModel
from duelist.models.trained import Models
from duelist.progress import Silent
from duelist.store.codecs import FEATURES
from duelist.types import Features, Prompt, Question, Response

PER_PROMPT = 5


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> Policy:
    lora = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
    policy = Policy.load(PolicyConfig(model=str(tiny_model), dtype="float64", lora=lora, device="cpu"), seed=1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data = (parameter.data.flatten() + 0.3).cumsum(0).sin().view_as(parameter)
    return policy


@pytest.fixture(scope="module")
def responses(policy: Policy) -> list[list[Response]]:
    """Five responses of different lengths to each of three prompts."""
    found = []
    for i in range(3):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [" ".join(f"w{(7 * i + 3 * n + j) % 40}" for j in range(n + 1)) for n in range(PER_PROMPT)]
        prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
        found.append([Response.of(prompt, t, prompt_ids, own, 1) for t, own in zip(texts, ids, strict=True)])
    return found


@pytest.fixture(scope="module")
def questions(responses: list[list[Response]]) -> dict[str, list[Question]]:
    """Candidates and past questions of two to four responses, which share some of them, and target pairs."""
    a, b, c = responses
    return {
        "candidates": [
            Question.of(a[:4], "ranking", 1),
            Question.pair(b[0], b[1], 1),
            Question.of(b[1:4], "best_worst", 1),
            Question.of(a[1:5], "ranking", 1),
        ],
        "past": [Question.of(a[:3], "ranking", 1), Question.pair(b[3], b[4], 1)],
        "targets": [Question.pair(c[0], c[1], 1), Question.pair(c[3], c[2], 1)],
    }


class Vectors:
    """An embedding of each response, in place of a model's."""

    def __call__(self, prompts: Any, responses: Sequence[Response], progress: Any) -> Any:
        rows = [np.random.default_rng(int(r.id[:8], 16)).normal(size=6) for r in responses]
        return np.array(rows, np.float32).reshape(-1, 6)


@pytest.fixture(scope="module")
def models(policy: Policy) -> Models:
    reward_model = RewardModel.fresh(RewardModelConfig(hidden=(4,), posterior="ensemble"), 6, seed=0)
    for i, head in enumerate(reward_model.weights["head"]):
        head += 0.1 * (i + 1)
    return Models(policy, reward_model, embeddings=Vectors())  # type: ignore[arg-type]


def run(models: Models, questions: dict[str, list[Question]], needs: set[str], *featurizers: Featurizer, **more: Any):  # type: ignore[no-untyped-def]
    named = {"candidates": [], "past": [], "targets": [], **questions}
    job = FeatureJob(models, prompts={}, beta=0.5, seed=0, progress=Silent(), **named)  # type: ignore[arg-type]
    return featurize(featurizers, frozenset(needs), job, **more)


def gradient(**config: Any) -> Gradient:
    return Gradient(GradientConfig(**{"dimension": 64, **config}))


def all_pairs(question: Question) -> list[tuple[int, int, Question]]:
    """Every two places of a question, and the pair of the responses there, turned the same way round."""
    found = []
    for i in range(question.k):
        for j in range(i + 1, question.k):
            a, b = question.responses[i], question.responses[j]
            pair = Question.pair(a, b, 1)
            found.append((i, j, pair) if pair.a == a else (j, i, pair))
    return found


CASES = [
    ("gradient_ND", "gradient_RD", gradient()),
    ("gradient_ND", "gradient_RD", gradient(dimension=None, normalize="none")),
    ("gradient_ND", "gradient_RD", gradient(normalize="token")),
    ("margin_N", "reward_R", Margin(MarginFeaturizerConfig())),
    ("margin_N", "reward_R", gradient()),
    ("embedding_ND", "embedding_RD", Embedding(EmbeddingFeaturizerConfig())),
    ("gradient_ND", "gradient_RD", RewardHead()),
    ("margin_N", "reward_R", RewardHead()),
]


@pytest.mark.parametrize(("of_pairs", "of_responses", "featurizer"), CASES)
def test_differences_of_two_responses_are_the_features_of_their_pair(
    models: Models, questions: dict[str, list[Question]], of_pairs: str, of_responses: str, featurizer: Featurizer
) -> None:
    features = run(models, questions, {of_pairs, "past"}, featurizer)
    assert getattr(features, of_pairs) is None
    value_RD = getattr(features, of_responses)
    for asked, part in ((questions["candidates"], features), (questions["past"], features.past)):
        assert part.pair_id_N.tolist() == [q.id for q in asked]
        assert part.asks_N.tolist() == [q.asks for q in asked]
        assert getattr(part, of_responses) is value_RD
        for row, question in zip(part.place_NQ, asked, strict=True):
            assert (row[: question.k] >= 0).all() and (row[question.k :] == -1).all()
            places = all_pairs(question)
            expected_N = getattr(run(models, {"candidates": [p for *_, p in places]}, {of_pairs}, featurizer), of_pairs)
            found_N = np.array([value_RD[row[i]] - value_RD[row[j]] for i, j, _ in places])
            assert np.abs(expected_N).max() > 1e-6
            np.testing.assert_allclose(found_N, expected_N, rtol=1e-6, atol=1e-9)
    assert len(value_RD) == len({r.id for of in ("candidates", "past") for q in questions[of] for r in q.responses})


def test_targets_are_differences_of_the_same_rows(models: Models, questions: dict[str, list[Question]]) -> None:
    features = run(models, questions, {"gradient_ND", "past", "target_MD"}, gradient())
    expected_ND = run(models, {"candidates": questions["targets"]}, {"gradient_ND"}, gradient()).gradient_ND
    np.testing.assert_allclose(features.target_MD, expected_ND, rtol=1e-6, atol=1e-9)
    everyone, _ = distinct_responses([q for of in questions.values() for q in of])
    assert len(features.gradient_RD) == len(everyone)
    alone = run(models, questions, {"target_MD"}, gradient())
    np.testing.assert_allclose(alone.target_MD, expected_ND, rtol=1e-6, atol=1e-9)
    assert alone.past is None


def test_the_entropy_of_a_smaller_question_is_that_of_its_own_prompt(
    models: Models, questions: dict[str, list[Question]]
) -> None:
    margin = Margin(MarginFeaturizerConfig())
    entropy_N = run(models, questions, {"prompt_entropy_N"}, margin).prompt_entropy_N
    for prompt in {q.responses[0].prompt_id for q in questions["candidates"]}:
        own = [i for i, q in enumerate(questions["candidates"]) if q.responses[0].prompt_id == prompt]
        together = list({r.id: r for i in own for r in questions["candidates"][i].responses}.values())
        pairs = [Question.pair(together[0], r, 1) for r in together[1:]]
        expected = run(models, {"candidates": pairs}, {"prompt_entropy_N"}, margin).prompt_entropy_N[0]
        np.testing.assert_allclose(entropy_N[own], expected, rtol=1e-9)
    assert len(np.unique(entropy_N.round(9))) == 2


def test_recorded_fields_go_to_whom_they_belong(models: Models, questions: dict[str, list[Question]]) -> None:
    recorded = {
        "cost_N": np.arange(1.0, 7.0),
        "asked_reward_XQ": np.arange(12.0).reshape(3, 4),
        "rank_XQ": np.array([[0, 1, 2, -1], [1, 0, -1, -1], [2, 0, 1, -1]]),
        "answered_X": np.array([0, 1, 0]),
    }
    features = run(models, questions, {"cost_N", "past", "votes_N2"}, recorded=recorded)
    assert features.cost_N.tolist() == [1, 2, 3, 4] and features.past.cost_N.tolist() == [5, 6]
    for name in ("asked_reward_XQ", "rank_XQ", "answered_X"):
        assert getattr(features, name) is None
        np.testing.assert_array_equal(getattr(features.past, name), recorded[name])
    none = run(models, questions, {"past"}, recorded=recorded)
    assert none.past.rank_XQ is None and none.past.cost_N is None


@pytest.mark.parametrize("name", ["log_ratio_N2", "reward_N2K", "length_N2", "prompt_ids_N2"])
def test_what_only_pairs_have_is_refused(models: Models, questions: dict[str, list[Question]], name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} are defined for two responses, but some questions have more"):
        run(models, questions, {name}, Margin(MarginFeaturizerConfig()), RewardHead())
    pairs = {"candidates": [questions["candidates"][1]], "past": [questions["past"][1]]}
    found = run(models, pairs, {name, "past"}, Margin(MarginFeaturizerConfig()), RewardHead())
    assert len(getattr(found, name)) == len(getattr(found.past, name)) == 1
    assert found.place_NQ is None


def same(one: Features, other: Features) -> None:
    for field in fields(Features):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert (a is None) == (b is None), field.name
        if a is not None and field.name != "past":
            np.testing.assert_array_equal(a, b)
            assert a.dtype.kind == b.dtype.kind


def test_the_file_of_features_holds_the_rows_of_responses_once(
    models: Models, questions: dict[str, list[Question]], tmp_path: Path
) -> None:
    needs = {"gradient_ND", "margin_N", "embedding_ND", "past", "target_MD"}
    features = run(models, questions, needs, gradient(), Embedding(EmbeddingFeaturizerConfig()))
    path = tmp_path / "features.npz"
    FEATURES.write(path, features)
    back = FEATURES.read(path)
    same(back, features)
    assert back.past is not None
    same(back.past, features.past)
    assert back.past.gradient_RD is back.gradient_RD and back.past.reward_R is back.reward_R
    with np.load(path) as arrays:
        assert {"gradient_RD", "reward_R", "embedding_RD"} <= set(arrays.files)
        assert not {"past.gradient_RD", "past.reward_R", "past.embedding_RD"} & set(arrays.files)


@pytest.mark.parametrize("normalize", ["response", "none"])
def test_rows_that_are_memory_mapped_are_the_same(
    models: Models,
    questions: dict[str, list[Question]],
    normalize: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    featurizer = gradient(normalize=normalize)
    plain = run(models, questions, {"gradient_ND", "past"}, featurizer)
    monkeypatch.setattr(gradient_module, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(gradient_module, "PAIRS_AT_ONCE", 3)
    mapped = run(models, questions, {"gradient_ND", "past"}, featurizer)
    assert isinstance(mapped.gradient_RD, np.memmap) and not isinstance(plain.gradient_RD, np.memmap)
    tolerance = 1e-3 if mapped.gradient_RD.dtype == np.float16 else 1e-9
    np.testing.assert_allclose(mapped.gradient_RD, plain.gradient_RD, atol=tolerance)
    FEATURES.write(tmp_path / "features.npz", mapped)
    np.testing.assert_array_equal(FEATURES.read(tmp_path / "features.npz").gradient_RD, mapped.gradient_RD)
