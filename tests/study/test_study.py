"""Ask, tell, update: what each may do and when, on a real study."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from duelist import Label, Study, parse_recipe
from duelist.cli.console import status_rows
from duelist.errors import ModelError, RecipeError, RoundStateError, StudyLockedError
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.store.artifacts import read_jsonl
from duelist.trainers.dpo import DPO
from duelist.types import Votes
from tiers import first, first_rows


@pytest.fixture
def by_hand(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without an annotator: people answer."""
    return {**tiny_recipe, "annotator": None}


@pytest.fixture(scope="module")
def asked_once(tiny_content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of `by_hand` that has asked its first batch; not to be changed."""
    folder = tmp_path_factory.mktemp("asked") / "study"
    with Study.create(folder, parse_recipe({**tiny_content, "annotator": None})) as study:
        study.ask()
    return folder


@pytest.fixture
def asked_study(asked_once: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    return shutil.copytree(asked_once, tmp_path / "study")


def answer(study: Study, outcome: Any = "a") -> None:
    study.tell([Label(i, "ann", outcome) for i in study.unanswered()])


def test_ask_returns_the_same_batch_until_it_is_answered(by_hand: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(by_hand)) as study:
        first = study.ask()
        assert len(first.pairs) == 6 and study.ask() == first
    with Study.open(tmp_path / "study") as study:
        assert study.ask() == first
        study.tell([Label(first.pairs[0].id, "ann", "a")])
        assert study.ask() == first and len(study.unanswered()) == 5


def test_update_waits_for_labels_unless_told_otherwise(by_hand: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(by_hand)) as study:
        with pytest.raises(RoundStateError, match="call ask"):
            study.update()
        batch = study.ask()
        study.tell([Label(p.id, "ann", "b") for p in batch.pairs[:4]])
        with pytest.raises(RoundStateError, match="2 of 6"):
            study.update()
        report = study.update(allow_partial=True)
        assert (report.round, report.metrics["labels"], report.metrics["asked"]) == (1, 4, 6)
        assert report.training["preferences"] == 4
        second = study.ask()
        assert not {p.id for p in second.pairs} & {p.id for p in batch.pairs}  # budget was used, answered or not
        study.tell([Label(p.id, "ann", "a") for p in batch.pairs[4:]])  # late, and still counts
        answer(study)
        assert study.update().training["preferences"] == 12
        with pytest.raises(RoundStateError, match="all 2 rounds are closed"):
            study.ask()


def test_a_study_older_than_a_recipe_key_goes_on(by_hand: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse_recipe(by_hand)
    with Study.create(tmp_path / "study", recipe) as study:
        batch = study.ask()
    file = tmp_path / "study" / "recipe.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["initial_random"], content["sampler"]["top_p"]  # as if these keys were new
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with Study.create(tmp_path / "study", recipe) as study:
        assert study.ask() == batch
    with pytest.raises(RecipeError, match="other values of initial_random"):
        Study.create(tmp_path / "study", parse_recipe({**by_hand, "initial_random": 3}))


def test_what_is_no_preference_is_recorded_and_not_trained_on(asked_study: Path) -> None:
    with Study.open(asked_study) as study:
        pairs = study.ask().pairs
        outcomes = ["tie", "skip", "both_bad", "tie", "skip", "both_bad"]
        study.tell([Label(p.id, "ann", o) for p, o in zip(pairs, outcomes, strict=True)])  # type: ignore[arg-type]
        report = study.update()
        assert report.training == {"preferences": 0.0}
        assert sorted(label.outcome for label in study.store.labels()) == sorted(outcomes)
        before, after = (study.folder.trained(t) / "adapter_model.safetensors" for t in (0, 1))
        assert before.read_bytes() == after.read_bytes()  # nothing to learn from: the policy stays as it is
        assert read_jsonl(asked_study / "preferences.jsonl") == []


@pytest.mark.parametrize(
    ("settings", "trained_on"),
    first_rows(
        3,
        [
            ({}, [1.0, 1.0]),
            ({"ties": "rao_kupper"}, [1.0, 1.0, 0.5]),
            ({"votes": "soft", "ties": "half"}, [0.75, 1.0, 0.6]),
            ({"votes": "soft"}, [0.75, 1.0]),
            ({"ties": "half"}, [1.0, 1.0, 0.5]),
        ],
    ),
    ids=str,
)
def test_the_trainer_s_settings_say_what_votes_and_ties_are_worth(
    by_hand: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    trained_on: list[float],
) -> None:
    from duelist.trainers.dpo import DPO

    seen: list[list[float]] = []
    train = DPO.train

    def watched(self: DPO, policy: Any, preferences: Any, *rest: Any) -> Any:
        seen.append([p.share for p in preferences])
        return train(self, policy, preferences, *rest)

    monkeypatch.setattr(DPO, "train", watched)
    by_hand["trainer"] = {**by_hand["trainer"], **settings}
    with Study.create(tmp_path / "study", parse_recipe(by_hand)) as study:
        pairs = study.ask().pairs
        given: list[tuple[Any, Votes | None]] = [
            ("b", Votes(1, 3)),
            ("a", None),
            ("tie", Votes(2, 1, 2)),
            ("skip", Votes(1, 0)),
            ("both_bad", None),
            ("both_bad", Votes(0, 3)),
        ]
        study.tell([Label(p.id, "ann", o, votes=v) for p, (o, v) in zip(pairs, given, strict=True)])
        report = study.update()
        assert report.training["preferences"] == len(trained_on)
    assert sorted(seen[0]) == sorted(trained_on)


def test_several_annotators_and_a_change_of_mind(asked_study: Path) -> None:
    with Study.open(asked_study) as study:
        pair = study.ask().pairs[0]
        study.tell([Label(pair.id, "ann", "a", time="2026-01-01T10:00:00+00:00")])
        study.tell([Label(pair.id, "bob", "b", time="2026-01-01T11:00:00+00:00")])
        study.tell([Label(pair.id, "ann", "b", time="2026-01-01T12:00:00+00:00")])
        assert [(label.annotator, label.outcome) for label in study.store.current_labels()] == [
            ("ann", "b"),
            ("bob", "b"),
        ]
        assert len(study.store.labels()) == 3


def test_a_clock_that_was_set_back_flips_no_decision(asked_study: Path) -> None:
    with Study.open(asked_study) as study:
        pair = study.ask().pairs[0]
        for outcome in ("a", "b", "a"):
            assert study.tell([Label(pair.id, "ann", outcome)]) == 1  # type: ignore[arg-type]
        assert [x.outcome for x in study.store.current_labels()] == ["a"]
        study.tell([Label(pair.id, "ann", "b", time="2026-01-01T12:00:00+00:00")])
        late = Label(pair.id, "ann", "a", time="2026-01-01T10:00:00+00:00")
        assert (study.tell([late]), study.tell([late])) == (1, 0)
        assert [x.outcome for x in study.store.current_labels()] == ["a"]


def test_another_thread_may_close_a_study_and_a_closed_one_does_nothing_more(asked_study: Path) -> None:
    study = Study.open(asked_study)
    batch = study.ask()
    study.tell([Label(batch.pairs[0].id, "ann", "a")])
    thread = Thread(target=study.close)
    thread.start()
    thread.join()
    study.close()
    assert len(read_jsonl(asked_study / "preferences.jsonl")) == 1
    with Study.open(asked_study) as again:  # the lock is free
        for doing in (
            study.ask,
            study.update,
            study.run,
            lambda: study.tell([Label(batch.pairs[1].id, "ann", "b")]),
        ):
            with pytest.raises(RoundStateError, match=r"was closed: open it again with `Study.open`"):
                doing()  # type: ignore[operator]
        assert len(again.store.labels()) == 1 and again.ask() == batch


def test_closing_waits_for_the_stage_that_another_thread_is_in(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise two processes could write to one folder."""
    study = Study.create(tmp_path / "study", parse_recipe(tiny_recipe))
    inside, go_on, errors = Event(), Event(), []
    run_selection = study.folder.store.finish_stage

    def slow(stage: Any, *rest: Any) -> None:
        if stage.name == "select":
            inside.set()
            assert go_on.wait(60)
        run_selection(stage, *rest)

    monkeypatch.setattr(study.store, "finish_stage", slow)

    def work() -> None:
        try:
            study.run()
        except RoundStateError as error:
            errors.append(error)

    worker, closer = Thread(target=work), Thread(target=study.close)
    worker.start()
    assert inside.wait(60)
    closer.start()
    with pytest.raises(StudyLockedError):
        Study.open(tmp_path / "study")
    go_on.set()
    closer.join()
    worker.join()
    assert len(errors) == 1
    with Study.open(tmp_path / "study") as again:
        assert len(again.store.asked()) == 6
        again.run()
        assert again.rounds_left == 0


def test_labels_told_after_the_last_round_are_among_the_preferences(by_hand: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe({**by_hand, "rounds": 1})) as study:
        batch = study.ask()
        answer(study)
        study.update()
        study.tell([Label(batch.pairs[0].id, "bob", "b")])
    assert len(read_jsonl(tmp_path / "study" / "preferences.jsonl")) == 7


def test_without_an_annotator_run_says_what_to_do(by_hand: dict[str, Any], tmp_path: Path) -> None:
    with (
        Study.create(tmp_path / "study", parse_recipe(by_hand)) as study,
        pytest.raises(RecipeError, match=r"ask\(\) and tell\(\)"),
    ):
        study.run()


def test_metrics_have_the_initial_model_first_and_every_figure(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(tiny_recipe)) as study:
        study.run()
    lines = read_jsonl(tmp_path / "study" / "metrics.jsonl")
    assert [(m["round"], m["labels"]) for m in lines] == [(0, 0), (1, 6), (2, 12)]
    assert lines[0]["kl"] == 0.0 and lines[0]["win_rate"] == 0.5
    for m in lines:
        assert isinstance(m["seconds"], dict) and set(m["seconds"]) >= {"train", "evaluate"}


@pytest.mark.parametrize("temperature", first(1, [0.25, 1.0, 4.0]))
def test_j_is_in_label_log_odds(tiny_recipe: dict[str, Any], tmp_path: Path, temperature: float) -> None:
    """β·KL is in log-odds of a label, and the reward is in that unit only over the annotator's temperature."""
    tiny_recipe["annotator"] |= {"choice": "bradley_terry", "temperature": temperature}
    with Study.create(tmp_path / "study", parse_recipe({**tiny_recipe, "rounds": 1})) as study:
        study.run()
    first, last = read_jsonl(tmp_path / "study" / "metrics.jsonl")
    assert first["j"] == pytest.approx(first["mean_reward"] / temperature)
    assert last["kl"] != 0 and last["j"] == pytest.approx(last["mean_reward"] / temperature - 0.5 * last["kl"])
    page = write_report(tmp_path / "study").read_text(encoding="utf-8")
    assert "J (label log-odds)" in page and "J (label log-odds)" in status_rows(status(tmp_path / "study"))


@pytest.mark.parametrize("who", first(1, ["another reward", "hard choices", "people"]))
def test_j_is_not_measured_where_labels_do_not_say_the_unit_of_the_reward(
    tiny_recipe: dict[str, Any], tmp_path: Path, tiny_reward: str, who: str
) -> None:
    reward = {"name": "function", "function": tiny_reward}
    if who == "another reward":
        tiny_recipe["annotator"] |= {"choice": "bradley_terry", "temperature": 0.25}
        tiny_recipe["reward"] = reward
    if who == "people":
        tiny_recipe |= {"annotator": None, "reward": reward}
    with Study.create(tmp_path / "study", parse_recipe({**tiny_recipe, "rounds": 1})) as study:
        study.tell([Label(pair.id, "Ada", "a") for pair in study.ask().pairs])
        study.update()
    lines = read_jsonl(tmp_path / "study" / "metrics.jsonl")
    assert [line["j"] for line in lines] == [None, None] and all(line["mean_reward"] is not None for line in lines)
    assert "log-odds" not in write_report(tmp_path / "study").read_text(encoding="utf-8")
    assert not [name for name in status_rows(status(tmp_path / "study")) if name.startswith("J")]


@pytest.mark.parametrize(
    "plan",
    first(
        2,
        [
            {"accumulate": "all", "restart": "from_reference", "reference": "initial"},
            {"accumulate": "round", "restart": "continue", "reference": "previous"},
            {"accumulate": "round", "restart": "continue", "reference": "initial"},
            {"accumulate": "all", "restart": "from_reference", "reference": "previous"},
        ],
    ),
    ids=lambda plan: "-".join(plan.values()),
)
def test_training_plans(tiny_recipe: dict[str, Any], tmp_path: Path, plan: dict[str, str]) -> None:
    """What is trained on and where it starts: round 2 repeated by hand from the artifacts."""
    from duelist.models.policy.policy import Policy
    from duelist.progress import Silent
    from duelist.seeding import derived_seed
    from duelist.trainers.dpo import DPO
    from duelist.trainers.dpo_settings import DPOTrainerConfig

    tiny_recipe["trainer"] |= plan
    recipe = parse_recipe(tiny_recipe)
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        preferences = study.store.decisions(None if plan["accumulate"] == "all" else 2)
        reference = 0 if plan["reference"] == "initial" else 1
        start = 1 if plan["restart"] == "continue" else reference
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        policy = Policy.load(recipe.policy, 0)
        policy.load_weights(study.folder.trained(start))
        policy.set_reference(None if reference == 0 else study.folder.trained(1))
        trainer = DPO(DPOTrainerConfig(train=tiny_recipe["trainer"]["train"]))
        trainer.train(policy, preferences, 0.5, derived_seed(0, "train", 2), Silent())
        torch.set_num_threads(threads)
        policy.save_weights(tmp_path / "again")
        weights = "adapter_model.safetensors"
        assert (tmp_path / "again" / weights).read_bytes() == (study.folder.trained(2) / weights).read_bytes()


def test_a_study_refuses_to_go_on_with_another_base_model(
    tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    tiny_recipe["policy"] = {**tiny_recipe["policy"], "model": str(model)}
    with Study.create(tmp_path / "study", parse_recipe(tiny_recipe)) as study:
        study.ask()
    changed = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        changed.model.embed_tokens.weight += 0.01
    changed.save_pretrained(model)
    with Study.open(tmp_path / "study") as study:
        answer(study)
        with pytest.raises(ModelError, match="base model it began with"):
            study.update()
    shutil.rmtree(model)
    shutil.copytree(tiny_model, model)
    with Study.open(tmp_path / "study") as study:
        assert study.update().round == 1


def test_metrics_tell_what_was_chosen(by_hand: dict[str, Any], tmp_path: Path) -> None:
    """In round 1 the policy is the reference: no margin, no sign to be right or wrong, no KL. Then all three."""
    by_hand["trainer"]["train"]["learning_rate"] = 1e-2
    with Study.create(tmp_path / "study", parse_recipe(by_hand)) as study:
        study.ask()
        answer(study)
        study.update()
        batch = study.ask()
        asked = study.store.asked(2)
        right = ["a" if x.margin > 0 else "b" for x in asked]
        outcomes = [*("b" if o == "a" else "a" for o in right[:2]), *right[2:5], "tie"]
        study.tell([Label(p.id, "ann", o) for p, o in zip(batch.pairs, outcomes, strict=True)])  # type: ignore[arg-type]
        study.update()
        policy = Policy.load(study.recipe.policy, 0)
        policy.load_weights(study.folder.trained(1))
    first, second = read_jsonl(tmp_path / "study" / "metrics.jsonl")[1:]
    assert (first["selected_mean_margin"], first["selected_ranking_accuracy"], first["selected_kl"]) == (0.0, None, 0.0)
    assert second["selected_mean_margin"] == pytest.approx(sum(abs(x.margin) for x in asked) / 6)
    assert second["selected_ranking_accuracy"] == pytest.approx(3 / 5)  # two against the margin, the tie counts nowhere
    sequences = tokenized([r for x in asked for r in (x.question.a, x.question.b)])
    own = sequence_log_probs(policy.model, sequences)
    with policy.as_reference():
        reference = sequence_log_probs(policy.model, sequences)
    assert second["selected_kl"] == pytest.approx(float((own - reference).mean()), abs=1e-5) != 0


def test_a_trainer_keeps_what_it_made_although_it_reports_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DPO, "train", lambda self, *_: {})
    monkeypatch.setattr(DPO, "keep", lambda self, folder: (folder / "kept").touch())
    with Study.create(tmp_path, parse_recipe({**tiny_recipe, "rounds": 1})) as study:
        study.run()
        assert (study.folder.trained(1) / "kept").is_file()
