"""`duelist.select`: choosing from a pool outside any study."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from scipy import stats
from transformers import AutoModelForCausalLM, AutoTokenizer

import duelist
from duelist.acquisition.base import Acquisition
from duelist.data.rows import row_decision, row_pair, row_prompt
from duelist.errors import BudgetError, DataError, ModelError, RecipeError, StorageError
from duelist.featurizers import feature_folder, gradient, mapped_files
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.selection.to_file import select_to_file
from tiers import one_of_each

LORA = {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}


def row(i: int, **more: Any) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"w{i} w{i + 1}"}]
    return {"prompt": prompt, "response_a": f"w{i % 7} w3", "response_b": f"w{i % 11} w9 w2", "note": i, **more}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Thirty rows with two responses each."""
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row(i)) + "\n" for i in range(30)), encoding="utf-8")
    return path


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """An adapter whose B is not zero."""
    policy = Policy.load(PolicyConfig(model=str(tiny_model), lora=LORA), 3)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data = (parameter.data.flatten() + 0.01).cumsum(0).sin().view_as(parameter)
    policy.save_weights(tmp_path / "adapter")
    return tmp_path / "adapter"


def brute_force(rows: list[dict[str, Any]], labelled: list[dict[str, Any]], policy: Policy, budget: int) -> list[int]:
    """Indices of the rows that equations (3) and (4) pick, V inverted explicitly, gradients whole."""
    from duelist.models.policy.response_batches import TokenizedResponse
    from duelist.models.policy.tokenization import encode_responses
    from duelist.types import Prompt

    def phi(r: dict[str, Any]) -> np.ndarray:
        prompt_ids, ids = encode_responses(policy.tokenizer, Prompt.of(r["prompt"]), [r["response_a"], r["response_b"]])
        engine = LoraGradients(policy.model, dimension=None, seed=0, max_tokens=1000)
        a, b = engine([TokenizedResponse(prompt_ids, i) for i in ids])[1].astype(float)
        return a / np.linalg.norm(a) - b / np.linalg.norm(b)

    phi_ND = np.stack([phi(r) for r in rows])
    v = 0.01 * (phi_ND**2).sum(1).mean() * np.eye(phi_ND.shape[1])
    for r in labelled:
        v += np.outer(phi(r), phi(r))
    picks: list[int] = []
    for _ in range(budget):
        inverse = np.linalg.inv(v)
        scores = [-1.0 if i in picks else float(p @ inverse @ p) for i, p in enumerate(phi_ND)]
        picks.append(int(np.argmax(scores)))
        v += np.outer(phi_ND[picks[-1]], phi_ND[picks[-1]])
    return picks


def test_picks_equal_brute_force_with_labelled_pairs(tiny_model: Path, adapter: Path, pool: Path) -> None:
    rows = [row(i) for i in range(30)]
    labelled = [row(4), row(11), {**row(33)}]
    picks = duelist.select(
        pool, str(tiny_model), adapter=adapter, labelled=labelled, budget=6, dimension=None, acquisition="activedpo"
    )
    policy = Policy.load(PolicyConfig(model=str(tiny_model), initial_adapter=str(adapter)), 0)
    left = [i for i in range(30) if i not in (4, 11)]  # those two have labels already
    expected = brute_force([rows[i] for i in left], labelled, policy, 6)
    assert [p.row_number for p in picks] == [left[i] for i in expected]
    assert [p.rank for p in picks] == [1, 2, 3, 4, 5, 6]
    assert np.all(np.diff([p.score for p in picks]) <= 1e-9)


def test_a_model_in_memory_and_rows_give_the_same(tiny_model: Path, adapter: Path, pool: Path) -> None:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    in_memory = duelist.select([row(i) for i in range(30)], model, tokenizer=tokenizer, budget=5, dimension=64)
    from_disk = duelist.select(pool, str(tiny_model), adapter=adapter, budget=5, dimension=64)
    assert [p.row_number for p in in_memory] == [p.row_number for p in from_disk]
    assert [p.score for p in in_memory] == [p.score for p in from_disk]


def test_parquet_lists_of_responses_and_trl_rows(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"w{i} ", "responses": [f"w{i} w1", "w2", f"w3 w{i}"]} for i in range(8)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet")
    picks = duelist.select(tmp_path / "pool.parquet", str(tiny_model), lora=LORA, budget=24, dimension=64)
    assert len({(p.row_number, p.response_a, p.response_b) for p in picks}) == 24  # 8 rows, three pairs each
    trl = [{"prompt": f"w{i} ", "chosen": f"w{i} w1", "rejected": "w2"} for i in range(4)]
    assert len(duelist.select(trl, str(tiny_model), lora=LORA, budget=4, acquisition="random")) == 4


def test_the_file_has_the_picks_in_order_and_nothing_that_is_not_blind(
    tiny_model: Path, pool: Path, tmp_path: Path
) -> None:
    picks = select_to_file(
        tmp_path / "out.jsonl", pool, str(tiny_model), acquisition="activedpo", settings=["lambda=0.5"], budget=4,
        dimension=64, lora=LORA,
    )  # fmt: skip
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(r) for r in written] == 4 * [["prompt", "response_a", "response_b", "rank", "row"]]
    assert [r["row"] for r in written] == [p.row_number for p in picks]
    assert [r["rank"] for r in written] == [1, 2, 3, 4]
    for r in written:
        given = row(r["row"])
        assert r["prompt"] == given["prompt"]
        assert {r["response_a"], r["response_b"]} == {given["response_a"], given["response_b"]}
    assert all(p.score > 0 and "V⁻¹" in p.reason for p in picks)


FORMATS: dict[str, Callable[[int], dict[str, Any]]] = {
    "plain": lambda i: {"prompt": f"w{i % 40} w{i // 40} ", "chosen": f"w{i % 7} w3", "rejected": f"w{i % 11} w9 w2"},
    "conversational": lambda i: {
        "prompt": [{"role": "user", "content": f"w{i % 40} w{i // 40}"}],
        "chosen": [{"role": "assistant", "content": f"w{i % 7} w3"}],
        "rejected": [{"role": "assistant", "content": f"w{i % 11} w9 w2"}],
    },
    "prompt within": lambda i: {
        "chosen": [{"role": "user", "content": f"w{i % 40} w{i // 40}"}, {"role": "assistant", "content": f"w{i % 7}"}],
        "rejected": [{"role": "user", "content": f"w{i % 40} w{i // 40}"}, {"role": "assistant", "content": "w8 w9"}],
    },
}


@pytest.mark.parametrize("format", FORMATS)
def test_what_people_are_given_does_not_say_which_response_was_chosen(
    tiny_model: Path, tmp_path: Path, format: str
) -> None:
    rows = [{**FORMATS[format](i), "score_chosen": 9.0, "n_a": 5, "n_b": 0, "label": "a"} for i in range(160)]
    arguments: dict[str, Any] = {"acquisition": "random", "lora": LORA, "budget": 160}
    select_to_file(tmp_path / "o.jsonl", rows, str(tiny_model), **arguments)
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {tuple(r) for r in written} == {("prompt", "response_a", "response_b", "rank", "row")}
    first = 0
    for r in written:
        given = rows[r["row"]]
        assert row_prompt(r, "").id == row_prompt(given, "").id and sorted(row_pair(r, "")) == sorted(
            row_pair(given, "")
        )
        first += r["response_a"] == row_pair(given, "")[0]
    low, high = stats.binom.interval(1 - 1e-6, 160, 0.5)
    assert low <= first <= high
    # What people label goes back as what is labelled already.
    with pytest.raises(BudgetError, match="0 distinct pairs"):
        duelist.select(rows, str(tiny_model), labelled=tmp_path / "o.jsonl", **arguments)


@pytest.mark.parametrize("format", FORMATS)
def test_data_that_is_labelled_already_keeps_its_columns_when_pruned(
    tiny_model: Path, tmp_path: Path, format: str
) -> None:
    rows = [{**FORMATS[format](i), "note": i, "score": "own"} for i in range(20)]
    picks = select_to_file(
        tmp_path / "o.jsonl", rows, str(tiny_model), acquisition="random", lora=LORA, budget=20, keep_columns=True
    )
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    for pick, r in zip(picks, written, strict=True):
        given = rows[pick.row_number]
        assert (r["note"], r["row"], r["rank"], r["score"], r["reason"]) == (
            pick.row_number, pick.row_number, pick.rank, pick.score, pick.reason,
        )  # fmt: skip
        assert (r["response_a"], r["response_b"]) == (pick.response_a, pick.response_b)
        assert row_pair(r, "") == row_pair(given, "") and r["prompt"] == pick.prompt  # chosen stays chosen


@pytest.mark.parametrize("said", [{"label": "a"}, {"label": "b"}, {"n_a": 4, "n_b": 1, "n_eq": 0}, {"label": "tie"}])
def test_pruning_does_not_turn_a_label_round(tiny_model: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    """A label is about `response_a` and `response_b` as the row has them, whatever sides the pick has."""
    rows = [{**row(i), **said} for i in range(12)]
    select_to_file(
        tmp_path / "o.jsonl", rows, str(tiny_model), acquisition="random", lora=LORA, budget=12, keep_columns=True
    )
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(r["row"] for r in written) == list(range(12))
    for r in written:
        given = rows[r["row"]]
        assert row_pair(r, "") == row_pair(given, "") and row_decision(r, "") == row_decision(given, "")


def test_pairs_of_a_list_are_blind_too(tiny_model: Path, tmp_path: Path) -> None:
    """A list may be ordered from best to worst."""
    rows = [{"prompt": f"w{i} ", "responses": [f"w{i} w1", "w2", f"w3 w{i}"], "best": 0} for i in range(40)]
    arguments: dict[str, Any] = {"acquisition": "random", "lora": LORA, "budget": 120}
    picks = select_to_file(tmp_path / "o.jsonl", rows, str(tiny_model), **arguments)
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {tuple(r) for r in written} == {("prompt", "response_a", "response_b", "rank", "row")}
    place = [[rows[p.row_number]["responses"].index(text) for text in (p.response_a, p.response_b)] for p in picks]
    low, high = stats.binom.interval(1 - 1e-6, 120, 0.5)
    assert low <= sum(a < b for a, b in place) <= high


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_killed_run_goes_on_without_computing_anything_again(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_folder, "SAVE_SECONDS", 0.0)
    arguments: dict[str, Any] = {"adapter": adapter, "budget": 5, "dimension": 64, "max_tokens": 70}
    undisturbed = duelist.select(pool, str(tiny_model), **arguments)
    calls: list[int] = []
    engine = LoraGradients.__call__

    def counting(self: LoraGradients, sequences: Any, *rest: Any, **more: Any) -> Any:
        if len(calls) == 3:
            calls.append(0)
            raise Killed
        calls.append(len(sequences))
        return engine(self, sequences, *rest, **more)

    monkeypatch.setattr(LoraGradients, "__call__", counting)
    with pytest.raises(Killed):
        duelist.select(pool, str(tiny_model), features=tmp_path / "features", **arguments)
    before = sum(calls)
    assert before > 0
    calls[:] = [0, 0, 0, 0]  # from now on, nothing stops it
    resumed = duelist.select(pool, str(tiny_model), features=tmp_path / "features", **arguments)
    responses = 60 - sum(1 for i in range(30) if row(i)["response_a"] == row(i)["response_b"])
    assert sum(calls) == responses - before
    assert [(p.row_number, p.score) for p in resumed] == [(p.row_number, p.score) for p in undisturbed]
    calls[:] = [0, 0, 0, 0]
    duelist.select(pool, str(tiny_model), features=tmp_path / "features", **{**arguments, "budget": 9})
    assert sum(calls) == 0  # another budget needs no new features


def test_half_precision_storage_picks_the_same(tiny_model: Path, adapter: Path, pool: Path) -> None:
    arguments: dict[str, Any] = {"adapter": adapter, "budget": 8, "dimension": 256}
    full = duelist.select(pool, str(tiny_model), precision="float32", **arguments)
    half = duelist.select(pool, str(tiny_model), precision="float16", **arguments)
    assert len({p.row_number for p in full} & {p.row_number for p in half}) >= 7


def test_a_pool_larger_than_memory_is_mapped_and_picks_the_same(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"adapter": adapter, "budget": 6, "dimension": 256}
    in_memory = duelist.select(pool, str(tiny_model), **arguments)
    monkeypatch.setattr(gradient, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(gradient, "PAIRS_AT_ONCE", 7)
    mapped_types: list[Any] = []
    scratch = mapped_files.scratch_array

    def noting(folder: Path, dtype: Any, shape: tuple[int, int]) -> Any:
        mapped_types.append(dtype)
        return scratch(folder, dtype, shape)

    monkeypatch.setattr(gradient, "scratch_array", noting)
    folder = tmp_path / "features"
    mapped = duelist.select(pool, str(tiny_model), features=folder, **arguments)
    assert len({p.row_number for p in in_memory} & {p.row_number for p in mapped}) >= 5
    # Gradients that are not scaled may be far smaller than float16 holds: |φ| is about 1e-7 here.
    small = {**arguments, "normalize": "none", "beta": 1e-9}
    mapped = duelist.select(pool, str(tiny_model), features=folder, **small)
    assert mapped_types == [np.float16, np.float32]
    monkeypatch.setattr(gradient, "MAPPED_ABOVE", 2**31)
    in_memory = duelist.select(pool, str(tiny_model), **small)
    assert [(p.row_number, p.score) for p in mapped] == [
        (p.row_number, pytest.approx(p.score, rel=1e-5)) for p in in_memory
    ]
    assert {p.name for p in folder.iterdir()} == {".lock", "state.json", "rows.bin", "gradient.bin"}


@pytest.mark.parametrize("normalize", ["pair", "token", "none"])
def test_normalisation_is_that_of_the_featurizer(tiny_model: Path, adapter: Path, pool: Path, normalize: Any) -> None:
    picks = duelist.select(pool, str(tiny_model), adapter=adapter, budget=3, dimension=None, normalize=normalize)
    assert len(picks) == 3


def test_features_of_another_model_and_damaged_ones_are_refused(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    arguments: dict[str, Any] = {"budget": 3, "features": folder, "dimension": 64}
    duelist.select(pool, str(tiny_model), adapter=adapter, **arguments)
    with pytest.raises(StorageError, match="model"):
        duelist.select(pool, str(tiny_model), lora=LORA, **arguments)
    with pytest.raises(StorageError, match="dimension"):
        duelist.select(pool, str(tiny_model), adapter=adapter, **{**arguments, "dimension": 32})
    with FileLock(folder / ".lock"), pytest.raises(StorageError, match="another one works on"):
        duelist.select(pool, str(tiny_model), adapter=adapter, **arguments)
    whole = (folder / "gradient.bin").read_bytes()
    for content, name in ((whole[:-1], "gradient.bin"), (b"", "gradient.bin"), (b'{"model', "state.json")):
        (folder / name).write_bytes(content)
        with pytest.raises(StorageError, match=rf"{name} must be what was saved"):
            duelist.select(pool, str(tiny_model), adapter=adapter, **arguments)
        (folder / "gradient.bin").write_bytes(whole)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be a folder that can be written"):
        duelist.select(pool, str(tiny_model), adapter=adapter, **{**arguments, "features": tmp_path / "file"})


@pytest.mark.parametrize("change", ["sliding_window", "rope_theta", "frozen"])
def test_features_of_another_configuration_or_of_other_matrices_are_refused(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path, change: str
) -> None:
    """The weights are the same; what is computed with them is not."""
    arguments: dict[str, Any] = {"budget": 3, "features": tmp_path / "features", "dimension": 64}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter, is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    first = duelist.select(pool, model, tokenizer=tokenizer, **arguments)
    model.config.use_cache = not model.config.use_cache
    again = duelist.select(pool, model, tokenizer=tokenizer, **arguments)
    assert [x.row_number for x in again] == [x.row_number for x in first]
    if change == "sliding_window":
        model.config.sliding_window = 2
    elif change == "rope_theta":
        model.config.rope_parameters["rope_theta"] = 5.0
    else:
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.requires_grad_(False)
        arguments["dimension"] = None  # so that it is not the dimension that tells
    with pytest.raises(StorageError, match="other values of model"):
        duelist.select(pool, model, tokenizer=tokenizer, **arguments)


@pytest.mark.parametrize(
    ("format", "said"),
    [(None, r"has 1: .*did not look at the model's configuration"), (2, "has 2: .*gradients scaled to unit norm")],
)
def test_a_folder_of_an_earlier_format_is_refused(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path, format: int | None, said: str
) -> None:
    arguments: dict[str, Any] = {"adapter": adapter, "budget": 3, "features": tmp_path / "features", "dimension": 64}
    duelist.select(pool, str(tiny_model), **arguments)
    path = tmp_path / "features" / "state.json"
    state = {k: v for k, v in json.loads(path.read_text()).items() if k != "format"}
    path.write_text(json.dumps(state if format is None else {**state, "format": format}))
    before = (tmp_path / "features" / "rows.bin").read_bytes()
    with pytest.raises(StorageError, match=said):
        duelist.select(pool, str(tiny_model), **arguments)
    assert (tmp_path / "features" / "rows.bin").read_bytes() == before


def test_a_killed_run_goes_on_with_a_larger_pool(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was computed before the kill is not computed again, although the new rows change how the rest is batched."""
    monkeypatch.setattr(feature_folder, "SAVE_SECONDS", 0.0)
    arguments: dict[str, Any] = {"adapter": adapter, "budget": 5, "dimension": 64, "max_tokens": 70}
    rows = [row(i) for i in range(30)]
    calls: list[int] = []
    engine = LoraGradients.__call__

    def dying(self: LoraGradients, sequences: Any, *rest: Any, **more: Any) -> Any:
        if len(calls) == 3:
            raise Killed
        calls.append(len(sequences))
        return engine(self, sequences, *rest, **more)

    monkeypatch.setattr(LoraGradients, "__call__", dying)
    with pytest.raises(Killed):
        duelist.select(rows[:20], str(tiny_model), features=tmp_path / "features", **arguments)
    before = sum(calls)
    monkeypatch.setattr(LoraGradients, "__call__", engine)
    fresh = duelist.select(rows, str(tiny_model), **arguments)
    calls.clear()

    def counting(self: LoraGradients, sequences: Any, *rest: Any, **more: Any) -> Any:
        calls.append(len(sequences))
        return engine(self, sequences, *rest, **more)

    monkeypatch.setattr(LoraGradients, "__call__", counting)
    grown = duelist.select(rows, str(tiny_model), features=tmp_path / "features", **arguments)
    responses = sum(len({r["response_a"], r["response_b"]}) for r in rows)
    assert before > 0 and sum(calls) == responses - before
    assert [(p.row_number, pytest.approx(p.score, rel=1e-4)) for p in grown] == [(p.row_number, p.score) for p in fresh]


@pytest.mark.parametrize("setting", [{"dimension": 0}, {"max_tokens": 0}, {"normalize": "no"}])
def test_settings_of_gradients_that_are_not_usable_are_refused(
    tiny_model: Path, adapter: Path, pool: Path, setting: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match=next(iter(setting))):
        duelist.select(pool, str(tiny_model), adapter=adapter, budget=3, **setting)


def test_that_a_frozen_adapter_counts_whole_is_said(tiny_model: Path, adapter: Path, pool: Path) -> None:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    assert not any(p.requires_grad for p in model.parameters())
    notes: list[str] = []
    progress = Silent()
    progress.note = notes.append  # type: ignore[method-assign]
    duelist.select(pool, model, tokenizer=AutoTokenizer.from_pretrained(tiny_model), budget=3, progress=progress)
    assert any("No matrix of the adapter is trained" in note for note in notes)


@pytest.fixture
def differentiated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many responses gradients were taken, call by call."""
    calls: list[int] = []
    engine = LoraGradients.__call__

    def counting(self: LoraGradients, sequences: Any, *rest: Any, **more: Any) -> Any:
        calls.append(len(sequences))
        return engine(self, sequences, *rest, **more)

    monkeypatch.setattr(LoraGradients, "__call__", counting)
    return calls


def test_another_pool_rule_or_past_computes_only_what_is_new(
    tiny_model: Path, adapter: Path, tmp_path: Path, differentiated: list[int]
) -> None:
    """Features belong to responses: whatever pool a response comes from, its gradient is taken once."""
    rows = [{"prompt": f"w{i} ", "responses": [f"w{i} w1", f"w2 w{i}", f"w3 w{i} w5"]} for i in range(12)]
    arguments: dict[str, Any] = {"budget": 4, "dimension": 64, "adapter": adapter}
    kept = {**arguments, "features": tmp_path / "features"}

    def equal_to_fresh(pool: Any, **more: Any) -> None:
        found = duelist.select(pool, str(tiny_model), **{**kept, **more})
        taken = sum(differentiated)
        fresh = duelist.select(pool, str(tiny_model), **{**arguments, **more})
        read, computed = ([p.as_row(keep_columns=True) for p in picks] for picks in (found, fresh))
        assert read == [r | {"score": pytest.approx(r["score"])} for r in computed]
        differentiated[:] = [taken]

    equal_to_fresh(rows[:8])
    assert differentiated == [24]
    equal_to_fresh(rows[:8][::-1], acquisition={"name": "information", "candidates": 2})  # needs margins, too
    equal_to_fresh(rows[:8], labelled=[{**rows[2], "responses": rows[2]["responses"][:2]}], budget=6)
    equal_to_fresh(rows[:8], acquisition="margin")
    assert differentiated == [24]
    equal_to_fresh(rows[3:])
    assert differentiated == [36]


def test_bad_pools_are_refused_by_row(tiny_model: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps(row(0)) + "\n" + json.dumps({"prompt": "w1", "responses": ["w2"]}) + "\n")
    with pytest.raises(DataError, match=r"mix|line 2"):
        duelist.select(one, str(tiny_model), budget=1)
    with pytest.raises(DataError, match="row 1 of the pool"):
        duelist.select([row(0), {**row(1), "response_b": row(1)["response_a"]}], str(tiny_model), budget=1)
    with pytest.raises(BudgetError, match="2 distinct pairs"):
        duelist.select([row(0), row(1), row(1)], str(tiny_model), budget=3)
    with pytest.raises(DataError, match=r"one row"):
        duelist.select([], str(tiny_model), budget=1)


def test_texts_that_no_model_reads_are_refused_by_row(tiny_model: Path) -> None:
    half = {**row(1), "response_a": "w1 \ud800"}
    with pytest.raises(DataError, match=r"row 1 of the pool has half a surrogate pair"):
        duelist.select([row(0), half], str(tiny_model), budget=1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('no systems here') if messages[0]['role'] == 'system' else 'w1 ' }}"
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**LORA))
    system = [{"role": "system", "content": "w1"}, {"role": "user", "content": "w2"}]
    with pytest.raises(DataError, match=r"row 1 of the pool: .*roles system, user\): no systems here"):
        duelist.select(
            [{**row(0), "prompt": "w3 "}, {**row(1), "prompt": system}], model, tokenizer=tokenizer, budget=1
        )
    with pytest.raises(DataError, match=r"row 0 of the pool: A sequence must fit .* 64 tokens"):
        duelist.select([{**row(0), "response_b": "w1 " * 65}], str(tiny_model), budget=1)
    with pytest.raises(DataError, match=r"row 0 of the pool is a str"):
        duelist.select(["prompt", "response_a"], str(tiny_model), budget=1)  # what a pandas table yields


def test_what_was_picked_from_lists_is_labelled_pair_by_pair(tiny_model: Path, tmp_path: Path) -> None:
    """The file that one choice wrote goes into the next as it is, and as the next one's pool."""
    rows = [{"prompt": f"w{i} ", "responses": [f"w{i} w1", "w2", f"w3 w{i}"]} for i in range(4)]
    arguments: dict[str, Any] = {"acquisition": "random", "lora": LORA}
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    picks = select_to_file(first, rows, str(tiny_model), budget=5, **arguments)
    rest = select_to_file(second, rows, str(tiny_model), budget=7, labelled=first, **arguments)
    assert len({(p.row_number, p.response_a, p.response_b) for p in [*picks, *rest]}) == 12
    assert len(duelist.select(first, str(tiny_model), budget=5, **arguments)) == 5
    with pytest.raises(BudgetError, match="5 distinct pairs"):
        duelist.select(first, str(tiny_model), budget=6, **arguments)


def test_a_labelled_pair_is_known_whatever_stands_beside_it(tiny_model: Path) -> None:
    """A tokenizer that merges across the boundary: a list's first departure moves where all its responses begin."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["a", "b", "c", "ab", "<eos>"]
    plain = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [("a", "b")]))
    plain.pre_tokenizer = pre_tokenizers.Split("<eos>", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<eos>")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**LORA))
    pool = [{"prompt": "ca", "responses": ["c", "cc", "bc"]}]
    labelled = [{"prompt": "ca", "chosen": "cc", "rejected": "c"}]
    arguments: dict[str, Any] = {"tokenizer": tokenizer, "acquisition": "random", "budget": 2}
    picks = duelist.select(pool, model, labelled=labelled, **arguments)
    assert {frozenset((p.response_a, p.response_b)) for p in picks} == {
        frozenset(("c", "bc")),
        frozenset(("cc", "bc")),
    }
    assert len(duelist.select([*labelled, *pool], model, **{**arguments, "budget": 3})) == 3


def test_no_labels_yet_is_no_mistake(tiny_model: Path, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    arguments: dict[str, Any] = {"lora": LORA, "budget": 3, "dimension": 64}
    expected = duelist.select(pool, str(tiny_model), **arguments)
    for labelled in ([], tmp_path / "none.jsonl"):
        assert duelist.select(pool, str(tiny_model), labelled=labelled, **arguments) == expected


def test_columns_that_are_not_json_are_written_as_json_has_them(tiny_model: Path, tmp_path: Path) -> None:
    odd = {"when": datetime.datetime(2024, 1, 2), "weight": float("nan"), "vector": np.array([1.0, np.inf])}
    pool = [{"prompt": "w1 \u2028", "response_a": "w2 \x85 w3", "response_b": "w4", **odd}]
    select_to_file(tmp_path / "o.jsonl", pool, str(tiny_model), acquisition="random", budget=1, keep_columns=True)
    (written,) = (json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines())
    assert written["prompt"] == "w1 \u2028" and written["response_a"] == "w2 \x85 w3"
    assert [written[k] for k in odd] == ["2024-01-02 00:00:00", None, [1.0, None]]


def test_an_output_that_cannot_be_written_is_found_before_the_work(
    tiny_model: Path, pool: Path, tmp_path: Path, differentiated: list[int]
) -> None:
    before = pool.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jsonl").symlink_to(pool)
    for output, said in (
        (pool, "place of an input"),
        (tmp_path / "link.jsonl", "place of an input"),
        (tmp_path / "folder", "it is a folder"),
        (pool / "o.jsonl", "must be a file that can be written"),
        (tmp_path / "o.parquet", r"end in \.jsonl"),
    ):
        with pytest.raises(StorageError, match=said):
            select_to_file(output, pool, str(tiny_model), acquisition="activedpo", lora=LORA, budget=1)
    with pytest.raises(StorageError, match="place of an input"):
        select_to_file(pool, [row(0)], str(tiny_model), acquisition="random", labelled=pool, budget=1)
    assert pool.read_bytes() == before and differentiated == []


def test_arguments_that_would_not_count_are_refused(tiny_model: Path, adapter: Path, pool: Path) -> None:
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**LORA))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for more, said in (({"adapter": adapter}, "PeftModel.from_pretrained"), ({"lora": LORA}, "own adapter counts")):
        with pytest.raises(ModelError, match=said):
            duelist.select(pool, model, tokenizer=tokenizer, budget=1, **more)
    with pytest.raises(ModelError, match="leave them out"):
        duelist.select(pool, str(tiny_model), tokenizer=tokenizer, budget=1)
    for beta in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="`beta` must be positive and finite"):
            duelist.select(pool, str(tiny_model), beta=beta, budget=1)


def test_bad_models_are_refused(tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "org/other-model"}))
    with pytest.raises(ModelError, match=r"trained on org/other-model"):
        duelist.select(pool, str(tiny_model), adapter=adapter, budget=1)
    with pytest.raises(ModelError, match="cannot be read"):
        duelist.select(pool, str(tiny_model), adapter=tmp_path / "nowhere", budget=1)
    with pytest.raises(ModelError, match="got a dict"):
        duelist.select(pool, {}, budget=1)
    plain = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**LORA))
    with pytest.raises(ModelError, match="end-of-sequence"):
        duelist.select(pool, plain, budget=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"hidden_size": 64}, "size mismatch"), ({"num_hidden_layers": 4}, r"no place for 8 .*layers\.2")],
)
def test_an_adapter_of_another_shape_is_refused(
    tiny_model: Path, pool: Path, tmp_path: Path, changes: dict[str, int], said: str
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny_model, **changes)
    other = tmp_path / tiny_model.name  # the same name, so that only the weights tell
    LlamaForCausalLM(config).save_pretrained(other)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(other)
    Policy.load(PolicyConfig(model=str(other), lora=LORA), 0).save_weights(tmp_path / "other")
    with pytest.raises(ModelError, match=said):
        duelist.select(pool, str(tiny_model), adapter=tmp_path / "other", budget=1)


def test_an_adapter_knows_its_model_by_whatever_path(
    tiny_model: Path, adapter: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tiny_model)
    monkeypatch.setenv("HOME", str(adapter.parent))
    monkeypatch.chdir(tiny_model)
    for model in (".", str(tmp_path / "link"), f"../{tiny_model.name}/"):
        assert duelist.select(pool, model, adapter="~/adapter", budget=1, acquisition="random")


def test_an_adapter_of_another_kind_is_refused(tiny_model: Path, pool: Path, tmp_path: Path) -> None:
    prompt_tuning = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), prompt_tuning).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="is PROMPT_TUNING: give a LoRA adapter"):
        duelist.select(pool, str(tiny_model), adapter=tmp_path / "other", budget=1)


def test_unknown_settings_are_refused(tiny_model: Path, pool: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lambda"):
        select_to_file(
            tmp_path / "o.jsonl", pool, str(tiny_model), acquisition="activedpo", settings=["lamda=1"], budget=1
        )
    for name in ("normalize", "dtype"):
        with pytest.raises(RecipeError, match=f"`{name}` must be one of"):
            select_to_file(tmp_path / "o.jsonl", pool, str(tiny_model), acquisition="random", budget=1, **{name: "no"})


def test_weights_are_loaded_in_the_type_asked_for(tiny_model: Path, adapter: Path, pool: Path) -> None:
    arguments: dict[str, Any] = {"adapter": adapter, "budget": 20, "dimension": None}
    full = duelist.select(pool, str(tiny_model), **arguments)
    half = duelist.select(pool, str(tiny_model), dtype="bfloat16", **arguments)
    assert [p.score for p in half] != [p.score for p in full]
    assert [p.score for p in half] == pytest.approx([p.score for p in full], rel=0.05)


def test_information_chooses_outside_a_study(tiny_model: Path, adapter: Path, pool: Path) -> None:
    picks = duelist.select(pool, str(tiny_model), adapter=adapter, budget=3, dimension=64, acquisition="information")
    assert len(picks) == 3 and all("nats" in p.reason for p in picks)


@pytest.mark.parametrize(
    "rule", one_of_each(lambda name: Component.of(Acquisition, name).build().needs, COMPONENTS["acquisition"])
)
def test_every_rule_chooses_outside_a_study(rule: str, tiny_model: Path, adapter: Path, pool: Path) -> None:
    labelled = [row(i) for i in range(30, 36)]
    targets = [row(i) for i in range(40, 44)] if rule == "policy_gap" else None
    settings = {"adapter": adapter, "labelled": labelled, "targets": targets, "dimension": 64}
    picks = duelist.select(pool, str(tiny_model), budget=5, acquisition={"name": rule, "candidates": 4}, **settings)
    assert len({pick.row_number for pick in picks}) == 5 and [pick.rank for pick in picks] == [1, 2, 3, 4, 5]
    again = duelist.select(pool, str(tiny_model), budget=5, acquisition={"name": rule, "candidates": 4}, **settings)
    assert [p.row_number for p in again] == [p.row_number for p in picks]
