"""Studies that train a reward model: the whole loop, in small."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist import Study, load_recipe
from duelist.cli.console import status_rows
from duelist.errors import DataError, DuelistError, ModelError, RecipeError
from duelist.models.embeddings.files import embedding_id
from duelist.models.rewards.network import RewardModel
from duelist.preflight.plan import plan
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import recipe_content
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.store import codecs
from duelist.store.artifacts import read_jsonl
from duelist.store.export import label_rows, trl_rows
from duelist.world.embedded import prepare_embedded
from killing import in_process, moments_of, run_study
from outcomes import require_equal
from tiers import first

SMALL = ["rounds=3", "budget=12", "initial_random=12", "prepare.settings={prompts: 30, responses: 4, held_out: 8}"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))


def small(*changes: str) -> Any:
    return load_recipe("reward-quickstart", [*SMALL, *changes])


def run(folder: Path, *changes: str) -> Path:
    with Study.create(folder, small(*changes)) as study:
        study.run()
    return folder


def test_the_loop_learns_the_reward_and_leaves_a_model_that_can_be_used(tmp_path: Path) -> None:
    folder = run(tmp_path / "study", "rounds=4", "budget=40")
    metrics = read_jsonl(folder / "metrics.jsonl")
    assert metrics[0]["spearman_error"] == 1.0
    assert metrics[0]["pair_accuracy"] == 0.5
    assert metrics[-1]["pair_accuracy"] > 0.7
    assert metrics[-1]["best_of_n_reward"] > metrics[0]["best_of_n_reward"] + 1
    samples = read_jsonl(folder / "rounds" / "004" / "evaluation.jsonl")[1:]
    model = RewardModel.load(folder / "reward_model")
    scores = model.score([s["prompt"] for s in samples], [s["response"] for s in samples])
    np.testing.assert_allclose(scores, [s["score"] for s in samples], atol=1e-9)
    page = write_report(folder).read_text()
    assert "1 − Spearman" in page
    assert "reward model, hidden layers" in page
    rows = status_rows(status(folder))
    assert rows["rounds closed"] == "4 of 4"
    assert rows["1 − Spearman"] == f"{metrics[-1]['spearman_error']:.4f}"
    assert "win rate" not in rows


def test_features_are_the_reward_models(tmp_path: Path) -> None:
    """Round 2's features, computed again from round 1's weights with plain arithmetic."""
    changes = ("reward_model.posterior=laplace", "reward_model.draws=7")
    recipe = recipe_content(small(*changes)) | {"acquisition": {"name": f"{__file__}:Everything"}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        batch = study.ask()
        study.tell(study.stages.components.annotator.annotate(batch, 0, study.progress))
        study.update()
        stages = study.stages
        past = [x.question for x in study.store.asked()]
        candidates = stages.pair(2, stages.sample(2, stages.prompts(2)), past)
        features = stages.featurize(2, candidates, past)
        model = RewardModel.load(study.folder.trained(1))
    index = {str(x): i for i, x in enumerate(np.load(model.config.embedding.path)["id"])}
    vectors = np.load(model.config.embedding.path)["embedding"]
    prompts = {p.id: p for p in stages.components.prompts.train}
    for pairs, found in ((candidates, features), (past, features.past)):
        both = [
            np.stack([vectors[index[embedding_id(prompts[r.prompt_id].as_trl(), r.text)]] for r in side])
            for side in ([p.a for p in pairs], [p.b for p in pairs])
        ]
        phi = [model.features(x) for x in both]
        head = model.weights["head"][0].double().numpy()
        np.testing.assert_allclose(found.gradient_ND, phi[0] - phi[1], atol=1e-9)
        np.testing.assert_allclose(found.margin_N, (phi[0] - phi[1]) @ head, atol=1e-6)
        np.testing.assert_allclose(found.embedding_ND, both[0] - both[1], atol=1e-6)
        draws = model.draws["head"].double().numpy()
        np.testing.assert_allclose(found.reward_N2K[:, 1], phi[1] @ draws.T, atol=1e-5)


def test_a_posterior_is_asked_for_by_name(tmp_path: Path) -> None:
    recipe = recipe_content(small("initial_random=0")) | {"acquisition": {"name": f"{__file__}:Everything"}}
    with (
        Study.create(tmp_path / "study", parse_recipe(recipe)) as study,
        pytest.raises(RecipeError, match=r"`reward_model.posterior` is `none`"),
    ):
        study.ask()


def test_pairs_may_cross_prompts_and_are_exported_with_both(tmp_path: Path) -> None:
    folder = run(tmp_path / "study", "pairing={name: cross_prompt, pairs: 200}")
    rows = read_jsonl(folder / "preferences.jsonl")
    assert len(rows) == 36
    crossing = [row for row in rows if "prompt_rejected" in row]
    assert crossing
    assert all(row["prompt_chosen"] != row["prompt_rejected"] for row in crossing)
    with Study.open(folder) as study:
        assert [row for row in label_rows(study.store) if "prompt_b" in row]
        with pytest.raises(DataError, match="`--format jsonl`"):
            list(trl_rows(study.store))
    assert "Question" in write_report(folder).read_text()


def test_a_prompts_only_response_can_be_compared_with_another_prompts(tmp_path: Path) -> None:
    prepare_embedded(tmp_path, prompts=30, responses=2, held_out=6, held_out_responses=4)
    rows = read_jsonl(tmp_path / "prompts.jsonl")
    alone = [{**row, "responses": row["responses"][:1]} for row in rows]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in alone))
    content = recipe_content(small()) | {"prepare": None, "pairing": {"name": "cross_prompt", "pairs": 100}}
    with Study.create(tmp_path / "study", parse_recipe(_prepared(content, tmp_path))) as study:
        study.run()
        assert len({r.id for x in study.store.asked() for r in (x.question.a, x.question.b)}) > 20


def _prepared(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    filled: dict[str, Any] = json.loads(json.dumps(content).replace("{prepared}", str(folder)))
    return filled


def test_what_does_not_fit_together_is_refused(tiny_recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="crosses prompts: use pairing `in_prompt`"):
        plan(parse_recipe(tiny_recipe | {"pairing": "cross_prompt"}))
    with pytest.raises(RecipeError, match="`policy` must be set"):
        parse_recipe({k: v for k, v in tiny_recipe.items() if k != "policy"})
    with pytest.raises(RecipeError, match="is what trainer `bradley_terry` trains"):
        parse_recipe(tiny_recipe | {"reward_model": {}})
    with pytest.raises(RecipeError, match="neither `policy` nor"):
        plan(small("reward_model.embedding={source: hidden_states}"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("acquisition={name: bald, posterior: samples}",), r"`reward_model.posterior` is `none`"),
        (("acquisition=aplp",), "must provide prompt_entropy_N, but this recipe's provide"),
        (("featurizers={embedding: {}}",), "must provide gradient_ND, margin_N, but"),
        (("acquisition=policy_gap", "featurizers={margin: {}}"), "must provide gradient_ND, but"),
    ],
)
def test_what_a_rule_needs_must_be_there_before_the_first_label(changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        plan(small(*changes))


def test_the_plan_is_known_without_a_model() -> None:
    found = plan(small())
    assert (found.labels, found.generations, found.gradient_tokens, found.base_parameters) == (36, 0, 0, 0)
    assert found.trained_parameters == 768 * 64 + 64 + 2 * (64 * 64 + 64) + 64


def test_vote_counts_are_shares_or_a_majority(tmp_path: Path) -> None:
    folder = tmp_path / "world"
    folder.mkdir()
    prepare_embedded(folder, prompts=20, responses=2, held_out=6, held_out_responses=2)
    for name in ("prompts", "held_out"):
        rows = read_jsonl(folder / f"{name}.jsonl")
        votes = [
            {"prompt": r["prompt"], "response_a": r["responses"][0], "response_b": r["responses"][1], "n_a": i % 4,
             "n_b": 3 - i % 4, "n_eq": i % 2} for i, r in enumerate(rows)
        ]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in votes))
    heads = []
    for votes_rule in ("majority", "soft"):
        recipe = recipe_content(small("rounds=1", "budget=20", f"trainer.votes={votes_rule}")) | {
            "prepare": None,
            "prompts": {"path": str(folder / "prompts.jsonl"), "held_out_path": str(folder / "held_out.jsonl")},
            "pairing": {"name": "as_given"},
            "annotator": {"name": "dataset_labels", "path": str(folder / "prompts.jsonl")},
        }
        recipe["reward_model"]["embedding"]["path"] = str(folder / "embeddings.npz")
        with Study.create(tmp_path / votes_rule, parse_recipe(recipe)) as study:
            study.run()
            evaluation = study.folder.read(1, "evaluate", codecs.EVALUATION)
        assert set(evaluation.metrics) == {"pair_accuracy", "log_loss", "brier", "ece", "longer_wins"}
        heads.append(RewardModel.load(tmp_path / votes_rule / "reward_model").weights["head"].numpy())
    assert not np.allclose(heads[0], heads[1])


def test_a_policy_study_can_choose_by_the_base_models_embeddings(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = tiny_recipe | {
        "featurizers": {"margin": {}, "embedding": {}},
        "acquisition": {"name": f"{__file__}:Farthest"},
    }
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.run()
        assert study.store.rounds_closed() == 2


@pytest.mark.parametrize("kind", first(1, ["committed", "inside", "written"]))
def test_a_study_killed_everywhere_equals_the_undisturbed_one(kind: str, tmp_path: Path) -> None:
    world = tmp_path / "world"  # beside both: the saved model names the file of its embeddings
    world.mkdir()
    prepare_embedded(world, prompts=20, responses=4, held_out=6, held_out_responses=4)
    recipe = _prepared(recipe_content(small("rounds=2")) | {"prepare": None}, world)
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "study"
    assert in_process(run_study, undisturbed, recipe, None) == 0
    by_place = {name.split("/")[0]: name for name in moments_of(undisturbed, kind)}
    assert {"1-train", "2-evaluate" if kind != "inside" else "2-train"} <= set(by_place)
    for moment in by_place.values():
        assert in_process(run_study, folder, recipe, moment) == -signal.SIGKILL, moment
    assert in_process(run_study, folder, recipe, None) == 0
    require_equal(folder, undisturbed)


@pytest.mark.parametrize("part", ["prompts", "held_out"])
@pytest.mark.parametrize("wrong", ["missing", "NaN"])
def test_a_vector_that_is_missing_is_noticed_before_the_first_label(part: str, wrong: str, tmp_path: Path) -> None:
    prepare_embedded(tmp_path, prompts=30, responses=4, held_out=6, held_out_responses=4)
    content = _prepared(recipe_content(small()) | {"prepare": None}, tmp_path)
    row = read_jsonl(tmp_path / f"{part}.jsonl")[3]
    with np.load(tmp_path / "embeddings.npz") as old:
        arrays = dict(old)
    at = arrays["id"].tolist().index(embedding_id(row["prompt"], row["responses"][2]))
    plan(parse_recipe(content))
    if wrong == "missing":
        arrays["id"][at] = "another"
    else:
        arrays["embedding"][at, 0] = np.nan
    np.savez(tmp_path / "embeddings.npz", **arrays)
    said = "must have a vector in" if wrong == "missing" else "An embedding must be finite numbers"
    with pytest.raises(DuelistError, match=said):
        plan(parse_recipe(content))


def test_other_embeddings_are_noticed(tmp_path: Path) -> None:
    """Whatever comes first after the change: training, or the next round's features."""
    with Study.create(tmp_path / "study", small("rounds=2")) as study:
        batch = study.ask()
        path = Path(study.stages.components.recipe.reward_model.embedding.path or "")
        study.tell(study.stages.components.annotator.annotate(batch, 0, study.progress))
    with np.load(path) as old:
        arrays = dict(old)
    for trained in (False, True):
        if trained:
            np.savez(path, **arrays)
            with Study.open(tmp_path / "study") as study:
                study.update()
        np.savez(path, id=arrays["id"], embedding=arrays["embedding"][:, :20])
        with Study.open(tmp_path / "study") as study, pytest.raises(ModelError, match="the embeddings it began with"):
            study.ask() if trained else study.update()


from duelist.acquisition.base import Acquisition  # noqa: E402
from duelist.types import Features, Selection  # noqa: E402


class Everything(Acquisition):
    """Asks for every feature that the reward-model track has."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N", "gradient_ND", "embedding_ND", "reward_N2K", "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        return Selection(np.arange(budget), np.zeros(budget), "none")


class Farthest(Acquisition):
    """The pairs whose embeddings are farthest from one another."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"embedding_ND"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.embedding_ND is not None
        distance = np.linalg.norm(features.embedding_ND, axis=1)
        order = np.argsort(-distance, kind="stable")[:budget]
        return Selection(order, distance[order].astype(float), "distance")


def test_a_policy_may_write_the_responses(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """The policy is not trained; held-out responses are drawn once, and the model saved can embed texts by itself."""
    recipe = {k: v for k, v in tiny_recipe.items() if k != "featurizers"} | {
        "trainer": "bradley_terry",
        "evaluation": {"max_new_tokens": 6, "responses_per_prompt": 4},
    }
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.run()
        metrics = study.store.metrics()
        stages = [s.name for s in study.store.stages()]
        samples = study.folder.read(2, "evaluate", codecs.EVALUATION).samples
    assert stages.count("held_out") == 1
    assert metrics[0]["spearman_error"] == 1.0
    assert 0 <= metrics[2]["spearman_error"] < 2
    model = RewardModel.load(tmp_path / "study" / "reward_model")
    assert model.config.embedding.model == recipe["policy"]["model"]
    # From a text, a response that was cut at the length limit gets an end of sequence: nearly the same scores.
    scores = model.score([s["prompt"] for s in samples], [s["response"] for s in samples])
    assert np.corrcoef(scores, [s["score"] for s in samples])[0, 1] > 0.8
