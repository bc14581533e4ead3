"""The suite's annotator: Bradley–Terry until a setting says otherwise, and each kind of noise by its frequency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from duelist.annotators.reward import RewardFunctionAnnotator, RewardFunctionConfig
from duelist.progress import Silent
from duelist.suite.annotator import NoisyAnnotator, NoisyAnnotatorConfig, label_probabilities, true_margins
from duelist.types import Batch, Prompt, Question, Response

PAIRS = 300


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reward") / "rewards.py"
    path.write_text(
        "def score(prompts, completions, **columns):\n    return [float(c.split()[0]) for c in completions]\n"
    )
    return f"{path}:score"


@pytest.fixture(scope="module")
def batch() -> Batch:
    prompt = Prompt.of("Say a number.")
    questions = []
    for i in range(PAIRS):
        texts = (f"{i % 5 / 4} {'and ' * (i % 3)}{i}", f"0.5 {i}")
        a, b = (Response.of(prompt, text, [1], [2, i, j], 1) for j, text in enumerate(texts))
        questions.append(Question.pair(a, b, 1))
    return Batch(1, tuple(questions), {prompt.id: prompt}, (0.0,) * PAIRS, "none")


def outcomes(function: str, batch: Batch, seed: int = 0, **settings: Any) -> list[str]:
    annotator = NoisyAnnotator(NoisyAnnotatorConfig(function=function, temperature=0.5, **settings))
    return [label.outcome for label in annotator.annotate(batch, seed, Silent())]


def test_without_noise_it_is_the_bradley_terry_annotator(function: str, batch: Batch) -> None:
    plain = RewardFunctionAnnotator(RewardFunctionConfig(function=function, choice="bradley_terry", temperature=0.5))
    assert outcomes(function, batch, 3) == [label.outcome for label in plain.annotate(batch, 3, Silent())]
    assert outcomes(function, batch, 3, stream=1) != outcomes(function, batch, 3)


def advantages(batch: Batch) -> np.ndarray:
    return np.array([float(q.a.text.split()[0]) - float(q.b.text.split()[0]) for q in batch.questions])


@pytest.mark.parametrize(
    "settings", [{"flip": 0.3}, {"careless": 0.5}, {"length_bias": 2.0}, {"flip": 0.1, "careless": 0.4, "tie": 0.6}]
)
def test_labels_come_with_the_probabilities_that_are_foreseen(
    function: str, batch: Batch, settings: dict[str, float]
) -> None:
    config = NoisyAnnotatorConfig(function=function, temperature=0.5, **settings)
    longer = np.array([len(q.a.text.split()) - len(q.b.text.split()) for q in batch.questions])
    foreseen_N2 = label_probabilities(config, true_margins(config, advantages(batch), longer))
    told = [outcomes(function, batch, seed, **settings) for seed in range(8)]
    for place, outcome in enumerate(("a", "b")):
        found = np.mean([[o == outcome for o in of_seed] for of_seed in told])
        expected = foreseen_N2[:, place].mean()
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / (8 * PAIRS))


def test_the_formula_by_hand(function: str) -> None:
    config = NoisyAnnotatorConfig(function=function, temperature=2.0, flip=0.1, careless=0.2, tie=0.5, length_bias=0.3)
    margin = true_margins(config, np.array([1.0, 4.0]), np.array([-2, 1]))
    assert margin.tolist() == pytest.approx([-0.1, 2.3])
    found = label_probabilities(config, margin)
    p = 0.1 + 0.8 * expit(2.3)
    assert found[0].tolist() == pytest.approx([0.1, 0.1])  # a tie, unless the careless one is asked
    assert found[1].tolist() == pytest.approx([0.8 * p + 0.1, 0.8 * (1 - p) + 0.1])


def test_a_coin_says_nothing_and_the_truth_is_still_measured(function: str, batch: Batch, tmp_path: Path) -> None:
    annotator = NoisyAnnotator(NoisyAnnotatorConfig(function=function, temperature=0.5, careless=1.0))
    labels = annotator.annotate(batch, 0, Silent())
    right = np.mean([(x.outcome == "a") == (d > 0) for x, d in zip(labels, advantages(batch), strict=True) if d])
    assert abs(right - 0.5) < 0.1 and {x.annotator for x in labels} == {"careless"}
    assert annotator.label_temperature == 0.5 and annotator.reward is not None
