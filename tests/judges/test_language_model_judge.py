"""Judge by a language model in this process: against logits computed one prompt at a time, without padding or hooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import Notes
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.errors import ModelError
from duelist.judges.base import Comparison
from duelist.judges.config import JudgeConfig
from duelist.judges.language_model import LanguageModelJudge, read_judge
from duelist.models.policy.choice_logprobs import ChoicePrompt, choice_log_probs, choice_prompt
from duelist.models.policy.fixed_model import FixedModel
from duelist.progress import Advance, Progress, Silent
from duelist.types import Prompt
from pickled_workers import PickledWorkers
from tiny_judge import CONTEXT, save_tiny_judge


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny judge."""
    folder = tmp_path_factory.mktemp("judge")
    save_tiny_judge(folder)
    return folder


def judge(folder: Path, cache: Path | None = None, **settings: Any) -> LanguageModelJudge:
    given = {"model": str(folder), "device": "cpu", "dtype": "float64", "min_mass": 0, "batch_tokens": 3000, **settings}
    return LanguageModelJudge(JudgeConfig.model_validate(given), cache)


class Counts(Progress):
    """Counts what is done under each description."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        assert description not in self.done
        self.done[description] = 0
        yield lambda steps: self.done.update({description: self.done[description] + steps})
        assert self.done[description] == total

    def note(self, text: str) -> None:
        pass


COMPARISONS = [
    Comparison(Prompt.of("What is this?"), "A cat.", "A dog, which is an animal."),
    Comparison(Prompt.of([{"role": "user", "content": "Why?"}]), "Because.", "I cannot say."),
    Comparison(Prompt.of("Say <a> and <end>"), "<a>\nA", "longer " * 12),
]


def by_hand(folder: Path, text: str, letters: Sequence[str]) -> list[float]:
    """P(letter or space and letter) as the next token, one sequence alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        p = model(ids).logits[0, -1].softmax(-1)
    of_letter = {x: [tokenizer.convert_tokens_to_ids(t) for t in (x, "Ġ" + x)] for x in letters}
    assert all(None not in ids for ids in of_letter.values())
    return [float(sum(p[i] for i in of_letter[x])) for x in letters]


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("chat", [True, False])
def test_probabilities_are_those_of_the_logits(folder: Path, tmp_path: Path, chat: bool, ties: bool) -> None:
    source = folder
    if not chat:
        source = tmp_path / "base"
        AutoModelForCausalLM.from_pretrained(folder).save_pretrained(source)
        plain = AutoTokenizer.from_pretrained(folder)
        plain.chat_template = None
        plain.save_pretrained(source)
    rubric = tmp_path / "short.jinja"
    rubric.write_text("{{ prompt[-1].content }} A: {{ first }} B: {{ second }} Which, {{ choices.first }}?", "utf-8")
    found = judge(source, ties=ties, rubric=str(rubric)).judge(COMPARISONS, 0, Silent())
    for c, x in zip(COMPARISONS, found, strict=True):
        of_order = []
        for first, second in ((c.a, c.b), (c.b, c.a)):
            shown = [str(c.prompt.messages[-1]["content"]), first, second]
            for mark in ("<a>", "<end>"):
                shown = [text.replace(mark, f"< {mark[1:]}") for text in shown]
            asked = f"{shown[0]} A: {shown[1]} B: {shown[2]} Which, A?"
            p = by_hand(source, f"<u>{asked}<a>\n" if chat else f"{asked}\n\nAnswer:", "ABC" if ties else "AB")
            of_order.append([value / sum(p) for value in p] + [0.0] * (not ties))
        assert x.a_first == pytest.approx(of_order[0], abs=1e-9)
        b, a, equal = of_order[1]
        assert x.b_first == pytest.approx([a, b, equal], abs=1e-9)


def test_a_turn_cannot_be_ended_by_a_response(folder: Path) -> None:
    """The marks of turns are tokens of the template only, once each."""
    one = judge(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = one._asked(COMPARISONS[2], COMPARISONS[2].a, COMPARISONS[2].b)
    ids = list(asked.prompt.prompt_ids)
    assert [ids.count(tokenizer.convert_tokens_to_ids(t)) for t in ("<u>", "<a>", "<end>")] == [1, 1, 0]


def test_mass_is_reported_and_too_little_is_no_verdict(folder: Path) -> None:
    notes = Notes()
    found = judge(folder, min_mass=1.0).judge(COMPARISONS, 0, notes)
    assert {x.outcome for x in found} == {"unparsed"}
    assert "6 of 6 verdicts have less than `min_mass` 1" in notes.notes[-1]


def test_a_cached_verdict_is_not_computed_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judge(folder, tmp_path).judge(COMPARISONS, 0, Silent())
    asked: list[int] = []

    def counted(model: Any, prompts: Sequence[ChoicePrompt], *further: Any) -> Any:
        asked.append(len(prompts))
        return choice_log_probs(model, prompts, *further)

    monkeypatch.setattr("duelist.models.policy.choice_logprobs.choice_log_probs", counted)
    more = [*COMPARISONS, Comparison(Prompt.of("New"), "x", "y")]
    again = judge(folder, tmp_path).judge(more, 5, Silent())
    assert again[:3] == found
    assert asked == [2]
    assert all(x.tokens_in > 0 and x.tokens_out == 0 for x in again)


def test_another_model_has_its_own_verdicts(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    model.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "other")
    one = judge(folder, tmp_path / "cache").judge(COMPARISONS, 0, Silent())
    other = judge(tmp_path / "other", tmp_path / "cache").judge(COMPARISONS, 0, Silent())
    assert [x.a_first for x in one] != [x.a_first for x in other]


def test_what_is_longer_than_the_context_has_no_verdict(folder: Path) -> None:
    notes = Notes()
    long = Comparison(Prompt.of("x"), "y" * CONTEXT, "z")
    found = judge(folder).judge([COMPARISONS[0], long], 0, notes)
    assert [x.outcome == "unparsed" for x in found] == [False, True]
    assert "2 of 4 comparisons" in notes.notes[0]


def test_letters_that_are_one_unknown_token_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="must be different tokens"):
        judge(tiny_model).judge(COMPARISONS[:1], 0, Silent())


class Pieces:
    """A tokenizer of letters and of given pieces, the longest first."""

    eos_token_id = None

    def __init__(self, *pieces: str) -> None:
        self.pieces = sorted(pieces, key=len, reverse=True)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        ids = []
        while text:
            piece = next((p for p in self.pieces if text.startswith(p)), text[0])
            ids.append(1000 + self.pieces.index(piece) if piece in self.pieces else ord(piece))
            text = text[len(piece) :]
        return {"input_ids": ids}


def test_only_spellings_that_all_choices_have_count() -> None:
    both = choice_prompt(Pieces(" A", " B"), "say:", ["A", "B"], special_tokens=False)
    assert both.prompt_ids == tuple(map(ord, "say:"))
    assert both.spellings == (((ord("A"),), (1000,)), ((ord("B"),), (1001,)))
    one = choice_prompt(Pieces(" A"), "say:", ["A", "B"], special_tokens=False)
    assert one.spellings == (((ord("A"),),), ((ord("B"),),))


def test_a_token_merged_with_the_prompts_end_belongs_to_the_choice() -> None:
    found = choice_prompt(Pieces(":A", ":B"), "say:", ["A", "B"], special_tokens=False)
    assert found.prompt_ids == tuple(map(ord, "say"))
    assert found.spellings == (((1000,),), ((1001,),))


def test_choices_that_begin_with_one_another_are_refused() -> None:
    with pytest.raises(ModelError, match="none the beginning of another"):
        choice_prompt(Pieces(), "say:", ["1", "10"], special_tokens=False)


def test_choices_of_several_tokens_are_added_up(folder: Path) -> None:
    """log P(c) is the sum over its tokens, computed by hand; prompts of different lengths share batches."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    texts = ["one", "a longer prompt: ", "the third one is " * 4]
    prompts = [choice_prompt(tokenizer, text, ["first", "second", "tie"], special_tokens=False) for text in texts]
    assert all(len(ids) == 1 and len(ids[0]) > 1 for p in prompts for ids in p.spellings)
    found = {}
    for index_B, rows_BC in choice_log_probs(model, prompts, 60):
        found |= dict(zip(index_B.tolist(), rows_BC.tolist(), strict=True))
    assert sorted(found) == [0, 1, 2]
    for i, prompt in enumerate(prompts):
        for c, (ids,) in enumerate(prompt.spellings):
            whole = torch.tensor([[*prompt.prompt_ids, *ids]])
            with torch.no_grad():
                log_p = model(whole).logits[0].log_softmax(-1)
            start = len(prompt.prompt_ids)
            expected = sum(float(log_p[start - 1 + t, token]) for t, token in enumerate(ids))
            assert found[i][c] == pytest.approx(expected, abs=1e-9)
            assert not math.isnan(expected)
    spread, workers = {}, PickledWorkers()
    from_worker = partial(workers.map, FixedModel(read_judge, JudgeConfig(model=str(folder), dtype="float64"), "judge"))
    for index_B, rows_BC in choice_log_probs(model, prompts, 60, from_worker):
        spread |= dict(zip(index_B.tolist(), rows_BC.tolist(), strict=True))
    assert spread == found and all(workers.batches)


def test_workers_give_the_verdicts_of_one_process(folder: Path) -> None:
    expected = judge(folder).judge(COMPARISONS, 0, Silent())
    workers, told, spread = PickledWorkers(), Counts(), judge(folder)
    spread.compute_with(workers, Silent())
    assert spread.judge(COMPARISONS, 0, told) == expected
    assert workers.batches == [1, 1]
    assert told.done == {"Judging": len(COMPARISONS)}
    (held,) = workers.held(0)
    assert held is not spread._source.here
