"""The recipes that train a reward model: they run in small, and read the data as it is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from recipe_files import RECIPES, write_rows

from duelist import Study, load_recipe
from duelist.errors import DataError
from duelist.models.rewards.network import RewardModel
from duelist.settings.importing import import_object
from duelist.store.artifacts import read_jsonl
from duelist.world.embedded import prepare_embedded, reward

SHARED = Path(__file__).parents[3] / "shared" / "data"
ukp = import_object(f"{RECIPES / 'ukp' / 'prepare.py'}:ukp")
hh = import_object(f"{RECIPES / 'hh' / 'embeddings.py'}:embedded")
hh_hidden_states = import_object(f"{RECIPES / 'hh' / 'embeddings.py'}:hidden_states")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def arguments(tmp_path: Path) -> Path:
    """Eight topics of six arguments; the vector's first entry says which one convinces."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(48, 4))
    folder = tmp_path / "ukp"
    folder.mkdir()
    items = [
        {"id": f"a{i}", "topic": f"t{i // 6}", "title": f"T{i // 6}", "stance": "yes", "text": f"w{i % 40} w{i // 40}"}
        for i in range(48)
    ]
    pairs = []
    for t in range(8):
        for i in range(6):
            for j in range(i):
                a, b = 6 * t + i, 6 * t + j
                n = 4 if vectors[a, 0] > vectors[b, 0] else 1
                pairs.append({"topic": f"t{t}", "a": f"a{a}", "b": f"a{b}", "n_a": n, "n_b": 5 - n, "n_eq": 0})
    write_rows(folder / "items.jsonl.gz", items)
    write_rows(folder / "pairs.jsonl.gz", pairs)
    ids = [f"a{i}" for i in range(48)]
    np.savez(folder / "items_minilm.npz", id=ids, embedding=vectors.astype(np.float16))
    return folder


@pytest.mark.parametrize("votes", ["majority", "soft"])
def test_ukp_learns_what_people_said(arguments: Path, tmp_path: Path, votes: str) -> None:
    changes = ["rounds=2", "budget=30", "initial_random=30", "prompts.held_out=2", f"trainer.votes={votes}"]
    recipe = load_recipe("ukp", [f"prepare.settings.data={arguments}", *changes, "acquisition=random"])
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        metrics = study.store.metrics()
    assert metrics[0]["pair_accuracy"] == 0.5
    assert metrics[2]["pair_accuracy"] > 0.6
    assert metrics[2]["longer_wins"] == 0.5  # all arguments have two words


def test_hh_keeps_the_pairs_that_have_vectors(tmp_path: Path) -> None:
    data, folder = tmp_path / "hh", tmp_path / "made"
    data.mkdir()
    folder.mkdir()
    for split in ("train", "test"):
        rows = [
            {
                "prompt": [{"role": "user", "content": f"{split} {i}?"}],
                "chosen": [{"role": "assistant", "content": f"yes {i}"}],
                "rejected": [{"role": "assistant", "content": f"no {i}"}],
                "source": "synthetic",
                "embedding_row": None if i == 0 else i - 1,
            }
            for i in range(4)
        ]
        write_rows(data / f"{split}.jsonl.gz", rows)
        vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
        np.savez(data / f"{split}_minilm.npz", chosen=vectors, rejected=-vectors)
    hh(folder, str(data))
    assert [row["chosen"][0]["content"] for row in read_jsonl(folder / "train.jsonl")] == ["yes 1", "yes 2", "yes 3"]
    made = np.load(folder / "embeddings.npz")
    assert made["embedding"].tolist()[2:4] == [[2, 3], [-2, -3]]
    assert len(set(made["id"].tolist())) == 12


def test_ukp_learns_from_a_language_models_hidden_states(arguments: Path, tiny_model: Path, tmp_path: Path) -> None:
    (arguments / "items_minilm.npz").unlink()
    changes = {"data": arguments, "model": tiny_model, "layer": 1, "components": 5}
    settings = [f"prepare.settings.{key}={value}" for key, value in changes.items()]
    short = ["rounds=1", "budget=30", "initial_random=30", "prompts.held_out=2", "acquisition=random"]
    recipe = load_recipe("ukp/hidden_states", [*settings, *short])
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        metrics = study.store.metrics()
    assert metrics[1]["longer_wins"] == 0.5
    learned = RewardModel.load(tmp_path / "study" / "reward_model")
    assert learned.dimension == 6
    assert learned.rewards(np.eye(6))[:5].all()  # the sixth, the length, is the same for all


def test_hh_embeds_short_pairs_of_one_turn(tiny_model: Path, tmp_path: Path) -> None:
    data, folder = tmp_path / "hh", tmp_path / "made"
    data.mkdir()
    folder.mkdir()
    for split, start in (("train", 0), ("test", 10)):
        rows = []
        for i in range(start, start + 6):
            prompt = [{"role": "user", "content": f"w{i}"}]
            if i % 6 == 5:  # two turns
                prompt = [*prompt, {"role": "assistant", "content": "w1"}, *prompt]
            long = " ".join(["w1"] * (40 if i % 6 == 4 else 3))
            answers = [[{"role": "assistant", "content": text}] for text in (f"w2 w{i}", long)]
            rows.append({"prompt": prompt, "chosen": answers[0], "rejected": answers[1], "source": "synthetic"})
        write_rows(data / f"{split}.jsonl.gz", rows)
    hh_hidden_states(folder, str(data), model=str(tiny_model), max_length=20, train=3, test=9, components=3)
    train, test = (
        [row["prompt"][0]["content"] for row in read_jsonl(folder / f"{split}.jsonl")] for split in ("train", "test")
    )
    assert len(train) == 3
    assert set(train) < {"w0", "w1", "w2", "w3"}
    assert set(test) == {"w12", "w13", "w14", "w15"}
    made = np.load(folder / "embeddings.npz")
    assert made["embedding"].shape == (14, 4)
    assert len(set(made["id"].tolist())) == 14
    with pytest.raises(DataError, match=r"at most 5 tokens.*prepare\.settings\.max_length"):
        hh_hidden_states(folder, str(data), model=str(tiny_model), max_length=5)


@pytest.mark.parametrize(("name", "prepare"), [("ukp", ukp), ("hh", hh), ("hh", hh_hidden_states)])
def test_data_that_is_not_there_is_named(name: str, prepare: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"prepare\.settings\.data=FOLDER"):
        prepare(tmp_path, str(tmp_path / "nowhere"))  # type: ignore[operator]


@pytest.mark.parametrize(("name", "folder"), [("ukp", "ukp"), ("hh/embeddings", "hh")])
def test_the_real_data_can_be_studied(name: str, folder: str, tmp_path: Path) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"needs the labelled pairs in {SHARED / folder}")
    changes = [f"prepare.settings.data={SHARED / folder}", "rounds=1", "budget=50", "initial_random=50"]
    with Study.create(tmp_path / "study", load_recipe(name, changes)) as study:
        study.run()
        assert {"pair_accuracy", "longer_wins", "log_loss"} <= set(study.store.metrics()[1])


def test_the_embedded_world_is_the_same_again_and_its_reward_is_no_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepare_embedded(tmp_path / name, prompts=200, responses=5, held_out=2)
    for file in ("prompts.jsonl", "held_out.jsonl", "rewards.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    rows = read_jsonl(tmp_path / "a" / "prompts.jsonl") + read_jsonl(tmp_path / "a" / "held_out.jsonl")
    values = np.array(reward([], [t for row in rows for t in row["responses"]], world=str(tmp_path / "a")))
    assert values.mean() == pytest.approx(0, abs=1e-9)
    assert values.std() == pytest.approx(2)
    vectors = np.load(tmp_path / "a" / "embeddings.npz")["embedding"].astype(float)
    design = np.column_stack([vectors, np.ones(len(vectors))])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    assert 0.05 < left.var() / values.var() < 0.95
    with pytest.raises(DataError, match="its own responses only"):
        reward([], ["x"], world=str(tmp_path / "a"))


def test_the_papers_recipe_has_the_papers_settings() -> None:
    recipe = load_recipe("paper/active-reward-modelling")
    assert (recipe.prompts.per_round, recipe.sampler.setting("responses_per_prompt"), recipe.budget) == (500, 10, 500)
    assert recipe.acquisition.options.candidates * recipe.budget == 20_000
    assert recipe.reward_model is not None
    assert recipe.reward_model.hidden == (64, 64, 64)
    assert recipe.acquisition.setting("optimizer") == "one-shot"


@pytest.mark.parametrize("name", ["ukp", "paper/active-reward-modelling"])
def test_every_setting_that_a_readme_names_is_one(name: str) -> None:
    text = (RECIPES / name / "README.md").read_text(encoding="utf-8")
    lines = [re.findall(r"--set ([^\s`]+)", line) for line in text.splitlines() if "--set" in line]
    assert lines
    for overrides in lines:
        load_recipe(name, overrides)
