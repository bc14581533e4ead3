"""Studies that ask rankings, the best, or the best and the worst: the whole loop, killed, exported, told by hand."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from duelist import Answer, Label, Study, load_recipe, parse_recipe
from duelist.answers import REST
from duelist.errors import DuelistError
from duelist.models.rewards.network import RewardModel
from duelist.preflight.examination import examine
from duelist.progress import Progress
from duelist.questions import Question, RankedSet
from duelist.recipe.recipe import Recipe, recipe_content
from duelist.store.artifacts import read_jsonl
from duelist.store.export import csv_text, label_rows, trl_rows
from duelist.study import stages
from duelist.study.components import prepared
from duelist.world.embedded import prepare_embedded
from killing import in_process, moments_of, run_study, run_study_asking_ahead, shown_log
from outcomes import lines, outcome, require_equal, smaller

# Few short texts: some prompts have too few different ones for a question of four.
SAMPLER = {"name": "vanilla", "responses_per_prompt": 5, "max_new_tokens": 2, "top_k": 2, "batch_size": 6}


@pytest.fixture
def sets_recipe(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """Rankings of up to four, with noise, two rounds of five."""
    return {
        **smaller(tiny_recipe),
        "budget": 5,
        "sampler": SAMPLER,
        "pairing": {"name": "in_prompt", "sets_of": 4},
        "annotator": {**tiny_recipe["annotator"], "choice": "bradley_terry", "temperature": 0.1},
    }


def online(recipe: dict[str, Any]) -> dict[str, Any]:
    """The same online: five rounds, with weights kept after the third and the last."""
    train = {"learning_rate": 1.0e-2, "per_device_train_batch_size": 2}
    trainer = {"name": "dpo", "accumulate": "round", "train": train}
    return {**recipe, "trainer": trainer, "online": True, "checkpoint_every": 3, "rounds": 5, "budget": 3}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, dict[str, Any]], Path]:
    """Runs a recipe when it is first asked for by its name."""
    made: dict[str, Path] = {}

    def run(name: str, recipe: dict[str, Any]) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "undisturbed"
            assert in_process(run_study, made[name], recipe, None) == 0
        return made[name]

    return run


def full(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.full)


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "ranking": lambda recipe: recipe,
    "online": online,
    "best_worst": lambda recipe: {**recipe, "pairing": {"sets_of": 4, "asks": "best_worst"}},
    "best_of_k": lambda recipe: {**recipe, "pairing": {"sets_of": 4, "asks": "best_of_k"}},
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ranking", "renamed"),  # in the default suite, with the last round's artifacts in place and not yet marked
        *(full("ranking", kind) for kind in ("inside", "written", "uncommitted", "committed")),
        *(full("online", kind) for kind in ("committed", "inside")),
        full("best_worst", "committed"),
    ],
)
def test_a_study_killed_everywhere_equals_the_undisturbed_one(
    name: str,
    kind: str,
    sets_recipe: dict[str, Any],
    undisturbed: Callable[[str, dict[str, Any]], Path],
    tmp_path: Path,
) -> None:
    recipe, folder = CHANGES[name](sets_recipe), tmp_path / "study"
    expected = undisturbed(name, recipe)
    moments = moments_of(expected, kind)
    if kind == "renamed":
        moments = [name for name in moments if name.startswith("2-") and "-files" not in name]
    assert {"2-select", "2-step" if name == "online" else "2-train"} <= {m.split("/")[0] for m in moments}
    for moment in moments:
        assert in_process(run_study, folder, recipe, moment) == -signal.SIGKILL, moment
    assert in_process(run_study, folder, recipe, None) == 0
    require_equal(folder, expected)
    if kind == "committed":  # nobody was asked twice
        assert lines(shown_log(folder)) == lines(shown_log(expected))


def test_an_online_study_killed_between_checkpoints_replays_its_rankings_and_scales(
    sets_recipe: dict[str, Any], undisturbed: Callable[[str, dict[str, Any]], Path], tmp_path: Path
) -> None:
    recipe, folder = online(sets_recipe), tmp_path / "study"
    expected = undisturbed("online", recipe)
    assert in_process(run_study, folder, recipe, "4-close/committed/1") == -signal.SIGKILL
    assert in_process(run_study, folder, recipe, None) == 0
    require_equal(folder, expected)
    steps = [json.loads((expected / f"rounds/{t:03d}/step.json").read_text()) for t in range(1, 6)]
    assert [len(step["preferences"]) for step in steps] == [3] * 5
    assert len({len(p["ranks"]) for step in steps for p in step["preferences"] if "ranks" in p}) > 1
    scales = [step["scales"] for step in steps]
    assert scales[0] == [1.0] * len(scales[0])  # the rewards were equal: an answer tells nothing of the scales
    assert scales[-1] != [1.0] * len(scales[-1]) and len({tuple(x) for x in scales}) > 2


@pytest.fixture
def study_of_rankings(sets_recipe: dict[str, Any], undisturbed: Callable[[str, dict[str, Any]], Path]) -> Path:
    return undisturbed("ranking", sets_recipe)


def test_prompts_with_few_responses_give_smaller_questions_or_none(
    study_of_rankings: Path, sets_recipe: dict[str, Any], tmp_path: Path
) -> None:
    with Study.open(study_of_rankings) as study:
        sizes = [x.question.k for x in study.store.asked()]
        assert {2, 3, 4} >= set(sizes) >= {3, 4}
        of = {q.id: q for q in (x.question for x in study.store.asked())}
        for answer in study.store.answers():
            k = of[answer.pair_id if isinstance(answer, Label) else answer.question_id].k
            assert isinstance(answer, Label) == (k == 2)
    rounds = [read_jsonl(study_of_rankings / f"rounds/{t:03d}/responses.jsonl") for t in (1, 2)]
    for t, responses in enumerate(rounds, start=1):
        texts: dict[str, set[str]] = {}
        for r in responses:
            texts.setdefault(r["prompt_id"], set()).add(r["text"])
        pool = read_jsonl(study_of_rankings / f"rounds/{t:03d}/pairs.jsonl")
        per_prompt = [{2: 1, 3: 1, 4: 1, 5: 5}[len(x)] for x in texts.values() if len(x) > 1]
        assert len(pool) == sum(per_prompt)
    none = {**sets_recipe, "pairing": {"sets_of": 4, "short_sets": "none"}, "budget": 1, "acquisition": "random"}
    with Study.create(tmp_path / "study", parse_recipe({**none, "rounds": 1})) as study:
        assert {q.k for q in study.ask().questions} == {4}


def test_exports_hold_what_was_answered(study_of_rankings: Path) -> None:
    with Study.open(study_of_rankings) as study:
        store, asked = study.store, {x.question.id: x.question for x in study.store.asked()}
        answers = {x.question_id: x for x in store.answers() if isinstance(x, Answer)}
        labels = {x.pair_id: x for x in store.answers() if isinstance(x, Label)}
        rows, adjacent = list(trl_rows(store)), list(trl_rows(store, "adjacent"))
        everything = [json.loads(json.dumps(row, allow_nan=False)) for row in label_rows(store)]
        cells = list(csv.DictReader(io.StringIO(csv_text(store))))
    assert rows == read_jsonl(study_of_rankings / "preferences.jsonl")
    text = {r.id: r.text for q in asked.values() for r in q.responses}
    weight = {2: 1.0, 3: 7 / 9, 4: 0.6388888888888888}
    for question_id, question in asked.items():
        if question_id in answers:
            order = [text[r] for (r,) in answers[question_id].groups]
        else:
            better, worse = (question.a, question.b)[:: 1 if labels[question_id].outcome == "a" else -1]
            order = [better.text, worse.text]
        of_this = [row for row in rows if row["question_id"] == question_id]
        said = {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in of_this}
        assert said == {(a, b) for i, a in enumerate(order) for b in order[i + 1 :]}
        assert [row["weight"] for row in of_this] == pytest.approx([weight[question.k]] * len(of_this))
        assert sum(row["question_id"] == question_id for row in adjacent) == question.k - 1
    assert [row.get("question_id", row.get("pair_id")) for row in everything] == list(asked)
    assert [row["question_id"] for row in cells] == list(asked)
    for row in cells:
        if row["question_id"] in answers:
            assert json.loads(row["ranking"]) == [list(g) for g in answers[row["question_id"]].groups]


def test_the_adapter_loads_with_plain_peft_and_its_rewards_are_those_that_were_recorded(
    study_of_rankings: Path, tiny_model: Path
) -> None:
    """The rewards at which round 2's questions were asked, by PEFT on round 1's adapter."""
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    model = PeftModel.from_pretrained(base, study_of_rankings / "rounds/001/adapter").eval()
    rows = {r["id"]: r for r in read_jsonl(study_of_rankings / "rounds/002/responses.jsonl")}

    def log_prob(row: dict[str, Any]) -> float:
        start = len(row["prompt_token_ids"])
        ids = torch.tensor([row["prompt_token_ids"] + row["token_ids"]])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0].log_softmax(-1)
        return sum(float(scores[i - 1, ids[0, i]]) for i in range(start, ids.shape[1]))

    with Study.open(study_of_rankings) as study:
        asked = study.store.asked(2)
    for x in asked:
        own = [rows[r.id] for r in x.question.responses]
        trained = np.array([log_prob(row) for row in own])
        with model.disable_adapter():
            reference = np.array([log_prob(row) for row in own])
        np.testing.assert_allclose(x.rewards or (), 0.5 * (trained - reference), atol=1e-5)
    assert max(abs(r) for x in asked for r in x.rewards or ()) > 1e-4
    files = [study_of_rankings / name / "adapter_model.safetensors" for name in ("adapter", "rounds/002/adapter")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["best_of_k", "best_worst"])
def test_the_best_and_the_worst_are_those_of_the_reward(name: str, sets_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = CHANGES[name](sets_recipe)
    recipe["annotator"] = {**recipe["annotator"], "choice": "hard"}
    with Study.create(tmp_path / "study", parse_recipe({**recipe, "rounds": 1})) as study:
        study.run()
        of = {x.question.id: x.question for x in study.store.asked()}
        score = lambda r: np.mean([int(w[1:]) for w in r.text.split() if w[1:].isdigit()] or [0])  # noqa: E731
        decided = 0
        for answer in study.store.answers():
            if isinstance(answer, Label):
                continue
            question = of[answer.question_id]
            assert question.asks == name and not answer.groups
            if answer.outcome == "skip":
                continue
            values = {r.id: score(r) for r in question.responses}
            assert values[answer.best] == max(values.values())
            if name == "best_worst":
                assert values[answer.worst] == min(values.values())
            else:
                assert answer.worst is None
            decided += 1
        assert decided > 1
        report = study.folder.store.metrics()[1]
    assert report["labels"] == 5


def by_places(question: Question, *places: Any) -> list[Any]:
    """The question's responses at some places; a tuple of places is a tie."""
    ids = [r.id for r in question.responses]
    return [tuple(ids[i] for i in p) if isinstance(p, tuple) else ids[p] for p in places]


def test_answers_told_by_hand(sets_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**sets_recipe, "annotator": None, "acquisition": "random", "rounds": 1, "budget": 6}
    recipe["pairing"] = {"sets_of": 3, "short_sets": "none"}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        one, two, three, four, five, six = questions = study.ask().questions
        assert study.unanswered() == [q.id for q in questions]
        with pytest.raises(DuelistError, match="has 3 responses and needs an `Answer` with `ranking`"):
            study.tell([Answer(one.id, "ann", by_places(one, 2, 0, 1)), Label(two.id, "ann", "a")])
        assert study.unanswered() == [q.id for q in questions]
        told = [
            Answer(one.id, "ann", by_places(one, 2, 0, 1)),
            Answer(two.id, "ann", by_places(two, (0, 2), 1)),
            Answer(three.id, "ann", by_places(three, 1), stopped=True, shown=by_places(three, 2, 1, 0)),
            Answer(four.id, "ann", outcome="skip"),
            Answer(five.id, "ann", outcome="all_bad"),
        ]
        assert (study.tell(told), study.tell(told), study.unanswered()) == (5, 0, [six.id])
        with pytest.raises(DuelistError, match="must have an answer"):
            study.update()
        study.tell([Answer(six.id, "ann", by_places(six, (0, 1, 2)))])
    with Study.open(tmp_path / "study") as study:
        report = study.update()
        ranks = {d.question_id: d.ranks for d in study.store.decisions() if isinstance(d, RankedSet)}
        assert ranks == {one.id: (1, 2, 0), two.id: (0, 1, 0), three.id: (REST, 0, REST), six.id: (0, 0, 0)}
        assert report.training["preferences"] == 4 and report.metrics["labels"] == 6
        later = Answer(one.id, "ann", by_places(one, 0, 1, 2))
        with pytest.raises(DuelistError, match="replaces"):
            study.tell([later])


def equal_but_for_order(folder: Path, expected: Path) -> None:
    """Equal studies, apart from the order in which stages were done and answers came."""
    found, wanted = outcome(folder), outcome(expected)
    for part in found:
        if part == "stages":
            assert sorted(found[part], key=lambda s: s[:2]) == sorted(wanted[part], key=lambda s: s[:2])
        elif part == "answers":
            assert sorted(found[part], key=lambda x: x.id) == sorted(wanted[part], key=lambda x: x.id)
        else:
            assert found[part] == wanted[part], part


@pytest.mark.parametrize(("of", "rounds"), [("rankings", 2), full("rankings", 4), full("pairs", 4)])
def test_a_batch_asked_ahead_is_the_same_batch_and_its_early_answers_change_nothing(
    of: str, rounds: int, sets_recipe: dict[str, Any], tmp_path: Path
) -> None:
    """With `lookahead`, people may answer the next round's questions before this round is trained on."""
    recipe = {**sets_recipe, "lookahead": 1, "acquisition": {"name": "information"}, "rounds": rounds}
    if of == "pairs":
        recipe |= {"pairing": "in_prompt"}
    usual, ahead = tmp_path / "usual", tmp_path / "ahead"
    assert in_process(run_study, usual, recipe, None) == 0
    assert in_process(run_study_asking_ahead, ahead, recipe, None) == 0
    places = [line.split("/")[0] for line in lines(ahead.with_suffix(".trace"))]
    assert places.index("2-annotate") < places.index("1-train")
    equal_but_for_order(ahead, usual)


@pytest.mark.full
@pytest.mark.parametrize("of", ["pairs", "rankings"])
def test_a_study_asked_ahead_survives_kills(of: str, sets_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**sets_recipe, "lookahead": 1, "acquisition": {"name": "information"}, "rounds": 3}
    if of == "pairs":
        recipe |= {"pairing": "in_prompt"}
    expected, folder = tmp_path / "undisturbed", tmp_path / "study"
    assert in_process(run_study_asking_ahead, expected, recipe, None) == 0
    for moment in moments_of(expected, "committed"):
        assert in_process(run_study_asking_ahead, folder, recipe, moment) == -signal.SIGKILL, moment
    assert in_process(run_study_asking_ahead, folder, recipe, None) == 0
    require_equal(folder, expected)


REFUSED = {
    "margin": ({"acquisition": "margin"}, "pairs only"),
    "entropy": ({"acquisition": {"name": "aplp"}}, "pairs only"),
    "rlhf": ({"trainer": {"name": "rlhf"}}, "trains on pairs only"),
    "normalized": (
        {"featurizers": {"margin": {}, "gradient": {"normalize": "pair"}}},
        "normalize: pair` scales the difference of two responses",
    ),
    "soft": ({"trainer": {"name": "dpo", "votes": "soft"}}, "shares of the votes on a pair"),
    "reliability": ({"trainer": {"name": "dpo", "votes": "reliability"}}, "shares of the votes on a pair"),
    "rao_kupper": ({"trainer": {"name": "dpo", "ties": "rao_kupper"}}, "is a model of pairs"),
    "loss": ({"trainer": {"name": "dpo", "train": {"loss_type": "ipo"}}}, "need TRL's sigmoid loss"),
    "weights": (
        {"sampler": {"name": "t_pilaf", "max_new_tokens": 2}},
        "weighs the loss of each pair",
    ),
    "certificate": ({"acquisition": {"name": "activedpo", "certificate": True}}, "a bound on pairs alone"),
    "one": ({"pairing": {"sets_of": 1}}, "greater than or equal to 2"),
    "nine": ({"pairing": {"sets_of": 9}}, "less than or equal to 8"),
    "half": ({"pairing": {"sets_of": 2.5}}, "valid integer"),
    "asks": ({"pairing": {"sets_of": 4, "asks": "pair"}}, "ranking.*best_of_k.*best_worst"),
    "too_many": ({"pairing": {"sets_of": 6, "short_sets": "none"}}, "the pool has 0 at most"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_for_sets_is_refused_before_anything_is_asked(
    name: str, sets_recipe: dict[str, Any], tmp_path: Path
) -> None:
    changes, said = REFUSED[name]
    with pytest.raises(DuelistError, match=said):
        examine(parse_recipe({**sets_recipe, **changes}))
    if name in ("one", "nine", "half", "asks", "too_many"):
        return
    with Study.create(tmp_path / "study", parse_recipe({**sets_recipe, **changes})) as study:
        with pytest.raises(DuelistError, match=said):
            study.ask()
        assert (study.store.asked(), study.store.stages()) == ([], [])


@pytest.fixture
def reward_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A reward model on a made-up world, trained on rankings of four of six responses."""
    world = tmp_path / "world"
    world.mkdir()
    prepare_embedded(world, prompts=20, responses=6, held_out=6, held_out_responses=4)
    changes = ["rounds=3", "budget=15", "initial_random=15", "pairing.sets_of=4", "pairing.per_prompt=8"]
    content = recipe_content(load_recipe("reward-quickstart", changes)) | {"prepare": None, "compare": {}}
    return json.loads(json.dumps(content).replace("{prepared}", str(world)))  # type: ignore[no-any-return]


def test_a_reward_model_learns_from_rankings(reward_recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with Study.create(folder, parse_recipe({**reward_recipe, "budget": 40, "initial_random": 40})) as study:
        study.run()
        assert {x.question.k for x in study.store.asked()} == {4}
        assert all(isinstance(x, Answer) for x in study.store.answers())
        prompts = {p.id: p for p in study.stages.components.prompts.train}
        asked = study.store.asked(3)
    metrics = read_jsonl(folder / "metrics.jsonl")
    assert metrics[0]["pair_accuracy"] == 0.5 and metrics[-1]["pair_accuracy"] > 0.7
    model = RewardModel.load(folder / "rounds/002/reward_model")
    for x in asked[:5]:
        of = [prompts[r.prompt_id].as_trl() for r in x.question.responses]
        scores = model.score(of, [r.text for r in x.question.responses])
        # A reward is known up to a constant of its prompt.
        found = np.subtract(x.rewards or (), scores)
        np.testing.assert_allclose(found, found.mean(), atol=1e-5)


def test_what_fresher_features_keep_is_what_a_study_without_lookahead_asks(
    reward_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the same first round and the same model after it; the second batch is selected with or without it."""
    made: list[Recipe] = []

    def counted(recipe: Recipe, progress: Progress) -> Recipe:
        made.append(recipe)
        return prepared(recipe, progress)

    monkeypatch.setattr(stages, "prepared", counted)
    batches = []
    for lookahead in (0, 1):
        content = {**reward_recipe, "rounds": 2, "lookahead": lookahead}
        with Study.create(tmp_path / str(lookahead), parse_recipe(content)) as study:
            study.run()
            batches.append([{x.question.id for x in study.store.asked(t)} for t in (1, 2)])
            kept = [row.get("lookahead_kept") for row in study.store.metrics()]
    (first, fresh), (same_first, stale) = batches
    assert first == same_first and fresh != stale
    assert kept == [None, None, pytest.approx(len(fresh & stale) / len(stale))]
    assert len(made) == 2  # each study loaded its models once


@pytest.mark.full
@pytest.mark.parametrize("kind", ["committed", "inside"])
def test_a_reward_model_of_rankings_survives_kills(kind: str, reward_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**reward_recipe, "rounds": 2}
    expected, folder = tmp_path / "undisturbed", tmp_path / "study"
    assert in_process(run_study, expected, recipe, None) == 0
    for moment in moments_of(expected, kind):
        assert in_process(run_study, folder, recipe, moment) == -signal.SIGKILL, moment
    assert in_process(run_study, folder, recipe, None) == 0
    require_equal(folder, expected)
