"""The report page: what it shows of a study, and that it is one safe file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist.errors import StorageError
from duelist.report import record
from duelist.report.page import write_report
from duelist.report.record import read_arm, read_arms, selected, similarity_to_earlier
from duelist.report.status import status
from duelist.store.folder import StudyFolder
from duelist.store.opening import create_folder, open_folder
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Label, Prompt, Question, Response, Selection, Votes
from tiers import first_rows

VOID = {"meta", "br", "link", "img", "input", "hr"}
RECIPE: dict[str, Any] = {
    "name": "made up",
    "description": "",
    "seed": 3,
    "rounds": 2,
    "budget": 3,
    "beta": 0.5,
    "pool": "fixed",
    "initial_random": 0,
    "policy": {"model": "a/model"},
    "acquisition": {"name": "my.rules:Cleverest", "lambda": 0.5},
    "annotator": None,
    "trainer": {"name": "dpo"},
    "evaluation": {"group_by": None},
    "compare": {},
}


class Page(HTMLParser):
    """The parsed page: whether tags are balanced, ids, references, and the text of elements by class."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.open: list[tuple[str, list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[str]]] = []
        self.all_text: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, []))
            self.texts.append((f"{tag}.{dict(attrs).get('class') or ''}", self.open[-1][1]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1][0] != "style":
            self.all_text.append(data)
            self.open[-1][1].append(data)

    def of(self, selector: str) -> list[str]:
        """The text that stands directly in each `tag.class`."""
        return ["".join(parts) for name, parts in self.texts if name == selector]

    @property
    def text(self) -> str:
        return " ".join("".join(self.all_text).split())

    def count(self, tag: str) -> int:
        return sum(t == tag for t, _ in self.tags)


def answer(prompt: Prompt, text: str, tokens: Sequence[int]) -> Response:
    return Response.of(prompt, text, [1], tokens, 1)


def asked(round: int, position: int, a: Response, b: Response, margin: float) -> AskedQuestion:
    pair = replace(Question.pair(a, b, round), responses=(a, b))
    return AskedQuestion(pair, round, position, 1.5, "nats of something", margin)


def begin(path: Path, **changes: Any) -> StudyFolder:
    return create_folder(path, {**RECIPE, **changes})


def ask(folder: StudyFolder, round: int, pairs: Sequence[AskedQuestion], prompts: Sequence[Prompt]) -> None:
    selection = Selection(np.arange(len(pairs)), np.ones(len(pairs)), "nats of something")
    folder.run_selection(round, lambda: (selection, pairs, prompts))


def close(folder: StudyFolder, round: int, metrics: Mapping[str, Any]) -> None:
    def fill(target: Path) -> dict[str, float]:
        (target / "weights").write_text("")
        return {}

    folder.run_training(round, "adapter", fill)
    folder.close_round(round, metrics)


def metrics(reward: float | None, **others: Any) -> dict[str, Any]:
    return {"mean_reward": reward, "win_rate": reward, "kl": 0.25, "j": reward, **others}


def whole(path: Path, rewards: Sequence[float | None], **changes: Any) -> None:
    """A study with a pair per round and these mean rewards after rounds 0, 1, ..."""
    prompt = Prompt.of("Say something.")
    folder = begin(path, **changes)
    close(folder, 0, metrics(rewards[0]))
    for t, reward in enumerate(rewards[1:], start=1):
        pair = asked(t, 0, answer(prompt, f"yes {t}", [2, t]), answer(prompt, f"no {t}", [3, t, t]), 0.1 * t)
        ask(folder, t, [pair], [prompt])
        folder.store.add_answers([Label(pair.question.id, "Ada", "a")])
        close(folder, t, metrics(reward))
    folder.close()


@pytest.fixture(scope="module")
def real_study(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Callable[[Path], Any]) -> Path:
    """A finished study of a real tiny model with another arm beside it."""
    from duelist import Study
    from duelist.recipe.reading import arms

    path = tmp_path_factory.mktemp("real")
    recipe = tiny_recipe(path)
    for folder, arm in [(path / "study", recipe), *((path / "study/compare" / n, r) for n, r in arms(recipe).items())]:
        with Study.create(folder, arm) as study:
            study.run()
    return path / "study"


@pytest.fixture(scope="module")
def tiny_recipe() -> Callable[[Path], Any]:
    """Writes a tiny model, prompts and a reward into a folder, and gives the recipe."""

    def make(path: Path) -> Any:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        from duelist.recipe.reading import parse_recipe

        words = ["<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>", *(f"w{i}" for i in range(30))]
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
        )
        fast.chat_template = (
            "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }} "
            "{% else %}<assistant> {{ m['content'] }} <eos>{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<assistant> {% endif %}"
        )
        fast.save_pretrained(path / "model")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=len(words),
                    hidden_size=16,
                    intermediate_size=32,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    num_key_value_heads=2,
                    max_position_embeddings=64,
                    bos_token_id=1,
                    eos_token_id=2,
                    pad_token_id=0,
                )
            ).save_pretrained(path / "model")
        rows = [{"prompt": [{"role": "user", "content": f"w{i} w{7 * i % 30}"}], "kind": i % 3} for i in range(20)]
        (path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (path / "rewards.py").write_text(
            "def score(prompts, completions, **_):\n"
            "    return [float(len(set(c[0]['content']))) for c in completions]\n"
        )
        return parse_recipe(
            {
                "name": "tiny",
                "rounds": 2,
                "budget": 4,
                "prompts": {"path": str(path / "prompts.jsonl"), "held_out": 6},
                "policy": {"model": str(path / "model"), "lora": {"r": 2, "target_modules": "all-linear"}},
                "sampler": {"name": "vanilla", "responses_per_prompt": 2, "max_new_tokens": 5},
                "acquisition": "random",
                "annotator": {"name": "reward_function", "function": f"{path / 'rewards.py'}:score"},
                "trainer": {"name": "dpo", "train": {"num_train_epochs": 1}},
                "evaluation": {"max_new_tokens": 5, "group_by": "kind"},
                "compare": {"other": {"beta": 0.2}},
            }
        )

    return make


def test_a_real_study_with_an_arm_is_one_page_that_needs_nothing_else(real_study: Path) -> None:
    page = Page(write_report(real_study))

    pictures = [a for t, a in page.tags if t == "svg" and "swatch" not in str(a["class"])]
    # The main curve, ranking accuracy, win rate, reward and KL (J is not measured, and the mean over groups is the main
    # curve); the map; the kinds, margins, redundancy and lengths of what was asked.
    assert len(pictures) == 9
    assert all(a.get("role") == "img" and a.get("aria-label") for a in pictures)
    assert page.count("caption") == page.count("table") == 8  # the arms, who answered; per arm rounds, pairs, groups
    assert not re.search(r"https?://|@import|url\((?!#)", page.source)
    assert not {"script", "link", "img", "iframe", "object"} & {t for t, _ in page.tags}
    assert not [a for _, a in page.tags if "style" in a or any(key.startswith("on") for key in a)]
    assert len(page.source) < 200_000
    assert "random" in page.text and "other" in page.text
    assert page.text.count("Seeds: 1") == 1
    assert len(page.of("article.pair")) == 8  # both rounds' pairs
    lines = [line for path in real_study.glob("rounds/*/pairs.jsonl") for line in path.read_text("utf-8").splitlines()]
    candidates = {json.loads(line)["id"] for line in lines}
    assert f"Map of {len(candidates)} candidate questions, of which 8 were picked." in page.source
    responses = {r.text for x in read_arm(real_study).asked for r in (x.question.a, x.question.b)}
    assert responses <= set(page.of("div.text"))


def test_ids_are_unique_and_every_reference_is_there(real_study: Path) -> None:
    page = Page(write_report(real_study))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    attributes = " ".join(f"{v}" for _, a in page.tags for v in a.values())
    references = re.findall(r"url\(#(.*?)\)", attributes)
    references += [v[1:] for _, a in page.tags for k, v in a.items() if k.endswith("href") and v]
    references += [str(v) for _, a in page.tags for k, v in a.items() if k in ("popovertarget", "aria-labelledby")]
    assert references and set(references) <= set(ids)


def test_only_the_style_of_the_page_itself_is_allowed(real_study: Path) -> None:
    page = Page(write_report(real_study))
    (policy,) = (a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    style = re.search(r"<style>(.*?)</style>", page.source, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_neither_import_nor_use_loads_slow_libraries_or_needs_the_lock(real_study: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import duelist.report.page, duelist.report.status\n"
        "folder = Path(sys.argv[1]); duelist.report.page.write_report(folder); duelist.report.status.status(folder)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'pandas', 'scipy.stats')))"
    )
    folder = open_folder(real_study)  # holds the lock
    before = (real_study / "study.db").stat().st_size
    try:
        subprocess.run([sys.executable, "-c", code, str(real_study)], check=True)
    finally:
        folder.close()
    assert (real_study / "study.db").stat().st_size == before


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    whole(tmp_path, [0.1, 0.2, 0.3])
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first
    assert not list(tmp_path.glob(".tmp-*"))


def test_numbers_about_what_was_selected(tmp_path: Path) -> None:
    one, two = Prompt.of("one", {"kind": "rare"}), Prompt.of("two", {"kind": "common"})
    folder = begin(tmp_path, evaluation={"group_by": "kind"})
    close(folder, 0, metrics(0.0))
    pairs = [
        asked(1, 0, answer(one, "A", [2, 3]), answer(one, "B", [4]), 0.5),  # margin for a, a longer; a wins
        asked(1, 1, answer(one, "C", [2]), answer(one, "D", [3, 4]), -1.0),  # margin for b, b longer; a wins
        asked(1, 2, answer(two, "E", [2]), answer(two, "F", [9]), 0.0),  # no margin, no length; b wins, and one tie
        asked(1, 3, answer(two, "G", [7]), answer(two, "H", [2, 8]), -0.5),  # margin for b, b longer; b wins
    ]
    ask(folder, 1, pairs, [one, two])
    ids = [x.question.id for x in pairs]
    labels = [
        Label(ids[0], "Ada", "a"),
        Label(ids[1], "Ada", "a"),
        Label(ids[2], "Ada", "b"),
        Label(ids[2], "Bo", "tie"),
        Label(ids[3], "Ada", "b"),
    ]
    folder.store.add_answers(labels)
    folder.close()

    (found,) = selected(read_arm(tmp_path))
    assert found.margin_B.tolist() == [0.5, 1.0, 0.0, 0.5]
    assert (found.ranking_accuracy, found.ranked) == (pytest.approx(2 / 3), 3)
    assert (found.longer_wins, found.unequal) == (pytest.approx(2 / 3), 3)
    assert found.length == pytest.approx(11 / 8)
    # {2,3,4} and the same again: 1; {2,9} to {2,3,4}: 1/4; {2,7,8} to {2,9}: 1/4.
    assert found.similarity == pytest.approx((1 + 1 / 4 + 1 / 4) / 3)
    assert (found.prompts, found.answered) == (2, 4)
    assert found.outcomes == {"a": 2, "b": 2, "tie": 1, "skip": 0, "both_bad": 0, "both_good": 0}
    assert found.groups == {"rare": 2, "common": 2}


@pytest.mark.parametrize("seed", range(3))
def test_similarity_is_that_of_brute_force(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_BLOCK", 3)
    rng = np.random.default_rng(seed)
    sets = [set(rng.choice(12, size=rng.integers(1, 8), replace=False).tolist()) for _ in range(10)]
    expected = [np.nan, *(max(len(s & e) / len(s | e) for e in sets[:i]) for i, s in enumerate(sets) if i)]
    np.testing.assert_allclose(similarity_to_earlier(sets), expected, rtol=1e-12)
    assert similarity_to_earlier([]).tolist() == []


def test_what_people_and_models_wrote_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\n  two  spaces & \"quotes\" '</div>' <img src=x onerror=alert(1)>"
    prompt = Prompt.of([{"role": "user", "content": "first"}, {"role": "user", "content": evil}], {"<b>": "$x <i>&"})
    other = Prompt.of(evil)
    folder = begin(tmp_path, name=evil, description=evil, evaluation={"group_by": "<b>"})
    close(folder, 0, metrics(0.0, **{"mean_reward_per_group": {evil: 1.0}}))
    pair = asked(1, 0, answer(prompt, evil, [2]), answer(other, "\n\n  kept", [3]), 0.5)
    ask(folder, 1, [pair], [prompt, other])
    folder.store.add_answers([Label(pair.question.id, evil, "b", votes=Votes(1, 4))])
    folder.close()

    page = Page(write_report(tmp_path))
    assert not {"script", "img", "i"} & {t for t, _ in page.tags}
    assert page.of("h1.") == [evil]
    texts = page.of("div.text")
    assert evil in texts and "\n\n  kept" in texts  # to the character; the style keeps white space
    assert "(1 : 4, 0 equal)" in page.text
    assert "$x <i>&" in page.text


def test_a_study_that_has_only_begun(tmp_path: Path) -> None:
    begin(tmp_path, compare={"random": {}}).close()
    page = Page(write_report(tmp_path))
    assert page.count("svg") == page.count("table") == 0
    assert (
        "Nothing measured yet" in page.text
        and "Nothing is measured yet." in page.of("p.headline")
        and "No pair has been asked yet" in page.text
    )
    assert "Not begun yet: random" in page.text
    assert status(tmp_path) == {
        "name": "made up",
        "rounds": 2,
        "rounds_closed": 0,
        "round": 0,
        "stages": [],
        "pending": None,
        "stopped": None,
        "labels": 0,
        "reading_time": None,
        "metrics": None,
        "seconds": 0,
        "compare": {},
    }


def test_midway_with_the_batch_pending_and_nothing_to_measure_by(tmp_path: Path) -> None:
    prompt = Prompt.of("?")
    folder = begin(tmp_path)
    close(folder, 0, {"mean_reward": None, "win_rate": None, "kl": None, "j": None})
    pairs = [asked(1, i, answer(prompt, f"a{i}", [2, i]), answer(prompt, f"b{i}", [3, i]), 0.0) for i in range(3)]
    ask(folder, 1, pairs, [prompt])
    folder.store.add_answers([Label(pairs[1].question.id, "Ada", "both_bad", seconds=2.0)])

    page = Page(write_report(tmp_path))  # while the folder is locked
    assert "In progress: round 1 of 2 (3 pairs asked, 1 answered); 0 closed, 1 label." in page.text
    assert "both bad by Ada in 2.0 s" in page.text and page.text.count("no answer yet") == 2
    assert page.of("p.headline") == ["1 label collected; what came of it is not measured."]
    now = status(tmp_path)
    assert now["round"] == 1 and now["stages"] == ["select"] and now["labels"] == 1
    assert now["pending"] == {"round": 1, "asked": 3, "answered": 1}
    assert now["metrics"]["mean_reward"] is None
    json.dumps(now, allow_nan=False)
    folder.close()


def test_arms_are_compared_after_the_last_round_that_all_have(tmp_path: Path) -> None:
    whole(tmp_path, [0.1, 0.2, 0.9])
    whole(tmp_path / "compare/random", [0.1, 0.4], name="made up (random)")
    (tmp_path / "compare/empty").mkdir()  # a study about to begin

    assert [arm.label for arm in read_arms(tmp_path)] == ["Cleverest", "random"]
    page = Page(write_report(tmp_path))
    assert "After round 1, the last that every arm has closed:" in page.text
    assert "By mean reward random did better: 0.400, against Cleverest 0.200." in page.text
    assert "Seeds: 1 (seed 3). One seed decides nothing" in page.text
    assert page.source.count('<td class="best">0.400</td>') == 3  # mean reward, win rate, J
    assert status(tmp_path)["compare"]["random"]["rounds_closed"] == 1


def test_arms_that_are_printed_alike_share_the_highest_value(tmp_path: Path) -> None:
    whole(tmp_path, [0.1, 0.3])
    whole(tmp_path / "compare/random", [0.1, 0.3004])
    whole(tmp_path / "compare/worse", [0.1, 0.2])
    page = Page(write_report(tmp_path))
    assert (
        "By mean reward the highest value, 0.300, is shared by random and Cleverest, against worse 0.200." in page.text
    )
    assert page.source.count('<td class="best">0.300</td>') == 6  # mean reward, win rate and J of both


@pytest.mark.parametrize("key", ["policy", "acquisition", "embedding"])
def test_what_is_prepared_is_named_in_words(tmp_path: Path, key: str) -> None:
    prepare = {"function": "my.data:prepare", "settings": {}}
    embedding = {"source": "file", "path": "{prepared}/vectors.npz", "model": None}
    changes = {
        "policy": {"policy": {"model": "{prepared}/model"}},
        "acquisition": {"acquisition": {"name": "{prepared}/rule.py:Mine", "of": "{prepared}"}},
        "embedding": {"reward_model": {"hidden": [8], "embedding": embedding}},
    }[key]
    folder = begin(tmp_path, prepare=prepare, **changes)
    close(folder, 0, metrics(0.1))
    folder.close()
    page = Page(write_report(tmp_path))
    assert "{prepared}" not in page.source and "(prepared by my.data:prepare)" in page.text
    assert {"policy": "model", "acquisition": "rule.py:Mine", "embedding": "vectors.npz"}[key] in page.text


@pytest.mark.parametrize(
    ("other", "said"),
    first_rows(
        2,
        [
            ([0.1, 0.2, 0.2996], "By mean reward the arms are equal (0.300)."),  # as far as a reader can see
            ([0.1, 0.2, 0.3006], "By mean reward random did better: 0.301, against Cleverest 0.300."),
            ([0.1, 0.2, 0.3], "By mean reward the arms are equal (0.300)."),
            ([0.1, 0.2, 0.1], "By mean reward Cleverest did better: 0.300, against random 0.100."),
            ([0.1, 0.2, 0.3004], "By win rate the arms are equal (0.300)."),
            ([None, None, None], "No reward was measured, so the arms cannot be ranked."),
            ([0.1], "No round is closed in every study yet: there is nothing to compare."),
        ],
    ),
)
def test_what_is_said_of_two_arms(tmp_path: Path, other: list[float | None], said: str) -> None:
    whole(tmp_path, [0.1, 0.2, 0.3])
    whole(tmp_path / "compare/random", other)
    assert said in Page(write_report(tmp_path)).text


def test_arms_of_one_name_and_of_different_seeds_are_told_apart(tmp_path: Path) -> None:
    whole(tmp_path, [0.1, 0.2], acquisition={"name": "random"})
    whole(tmp_path / "compare/random", [0.1, 0.2], seed=4)
    page = Page(write_report(tmp_path))
    assert [arm.label for arm in read_arms(tmp_path)] == ["random (this study)", "random"]
    assert "Seeds: 1 for each arm, and not the same one (3, 4)" in page.text


def test_only_the_first_pairs_of_a_large_round_are_shown(tmp_path: Path) -> None:
    prompt = Prompt.of("?")
    folder = begin(tmp_path, budget=25)
    close(folder, 0, metrics(0.0))
    pairs = [asked(1, i, answer(prompt, f"a{i}", [2, i]), answer(prompt, f"b{i}", [3, i]), 0.0) for i in range(25)]
    ask(folder, 1, pairs, [prompt])
    folder.close()
    page = Page(write_report(tmp_path))
    assert "the first 20 of 25 pairs" in page.text and len(page.of("article.pair")) == 20


def test_a_folder_without_a_study_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for read in (write_report, status):
        with pytest.raises(StorageError, match=r"must hold a recipe\.yaml"):
            read(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_reward_kl_curve_is_a_table_too(tmp_path: Path) -> None:
    """One row per round that was measured; a round without evaluation is in no table and no picture."""
    whole(tmp_path, [0.0, 0.25, 0.5])
    folder = open_folder(tmp_path)
    prompt = Prompt.of("Say something.")
    ask(folder, 3, [asked(3, 0, answer(prompt, "yes", [5]), answer(prompt, "no", [6]), 0.1)], [prompt])
    close(folder, 3, {})
    folder.close()
    write_report(tmp_path)
    rows = (tmp_path / "reward_kl.csv").read_text("utf-8").splitlines()
    assert rows[0] == "arm,round,labels,kl,mean_reward,j"
    assert [row.split(",")[1:] for row in rows[1:]] == [
        ["0", "0", "0.25", "0.0", "0.0"],
        ["1", "1", "0.25", "0.25", "0.25"],
        ["2", "2", "0.25", "0.5", "0.5"],
    ]


def test_without_a_reward_there_is_no_reward_kl_table(tmp_path: Path) -> None:
    whole(tmp_path, [None, None])
    write_report(tmp_path)
    assert not (tmp_path / "reward_kl.csv").exists()
