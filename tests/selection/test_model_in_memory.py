"""`duelist.select` with a model of somebody's own loop: plain, with an adapter, or inside a trainer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

import duelist
from duelist.errors import BudgetError, ModelError, RecipeError
from duelist.selection.callback import SelectCallback

LORA: dict[str, Any] = {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}


def row(i: int) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"w{i} w{i + 1}"}]
    return {"prompt": prompt, "response_a": f"w{i % 7} w3", "response_b": f"w{i % 11} w9 w2"}


POOL = [row(i) for i in range(12)]


def preferences() -> datasets.Dataset:
    """Preferences in TRL's format."""
    message = lambda text: [{"role": "assistant", "content": text}]  # noqa: E731
    rows = [row(i) for i in range(20, 24)]
    said = [{"chosen": message(r["response_a"]), "rejected": message(r["response_b"])} for r in rows]
    return datasets.Dataset.from_list([{"prompt": r["prompt"], **s} for r, s in zip(rows, said, strict=True)])


def trainer_of(model: Any, folder: Path, tokenizer: Any, **more: Any) -> Any:
    config = DPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False, max_length=None,
        num_train_epochs=2, learning_rate=1e-2, per_device_train_batch_size=4, disable_tqdm=True, beta=0.7,
        save_strategy="no",
    )  # fmt: skip
    return DPOTrainer(model, args=config, train_dataset=preferences(), processing_class=tokenizer, **more)


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def test_a_plain_model_is_chosen_for_as_from_its_folder_and_left_as_it_was(tiny_model: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model).train()
    model.lm_head.weight.requires_grad_(False)
    before = {name: (p.clone(), p.requires_grad) for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    modules = [type(module) for module in model.modules()]
    for _ in range(2):  # a second time, too, without PEFT's warning about a second adapter
        own = duelist.select(POOL, model, tokenizer=tokenizer, budget=4, dimension=64, lora=LORA)
    folder = duelist.select(POOL, str(tiny_model), budget=4, dimension=64, lora=LORA)
    assert own.rows == folder.rows
    assert [p.score for p in own] == [p.score for p in folder]
    assert [module.training for module in model.modules()] == modes
    assert [type(module) for module in model.modules()] == modules
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name][0])
        assert parameter.requires_grad == before[name][1]
    assert not hasattr(model, "peft_config")


def test_a_plain_model_with_its_reference_has_margins(tiny_model: Path, tokenizer: Any) -> None:
    """The rule `margin` picks the smallest |β log-ratio difference|, computed here without the package."""
    model, reference = (AutoModelForCausalLM.from_pretrained(tiny_model).eval() for _ in range(2))
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.05 * torch.sin(torch.arange(parameter.numel()) + i).view_as(parameter))

    def log_prob(net: Any, r: dict[str, Any], text: str) -> float:
        prompt = tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False)
        full = [{"role": "user", "content": r["prompt"][0]["content"]}, {"role": "assistant", "content": text}]
        ids = torch.tensor([tokenizer.apply_chat_template(full, return_dict=False)])
        with torch.no_grad():
            log_probs = torch.log_softmax(net(ids).logits[0], -1)
        return sum(log_probs[t - 1, ids[0, t]].item() for t in range(len(prompt), ids.shape[1]))

    def margin(r: dict[str, Any]) -> float:
        ratio = [log_prob(model, r, r[k]) - log_prob(reference, r, r[k]) for k in ("response_a", "response_b")]
        return abs(ratio[0] - ratio[1])

    margins = [margin(r) for r in POOL]
    picks = duelist.select(
        POOL,
        model,
        tokenizer=tokenizer,
        reference=reference,
        budget=5,
        acquisition="margin",
    )
    assert picks.rows == sorted(range(len(POOL)), key=margins.__getitem__)[:5]
    with pytest.raises(ModelError, match="`tokenizer` and `reference` go with a model in memory"):
        duelist.select(POOL, str(tiny_model), reference=reference, budget=1)


def test_a_trainer_is_chosen_for_with_its_own_tokenizer_reference_and_beta(
    tiny_model: Path, tokenizer: Any, tmp_path: Path
) -> None:
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(task_type="CAUSAL_LM", **LORA)
    )
    trainer = trainer_of(adapted, tmp_path, tokenizer)
    trainer.train()
    settings: dict[str, Any] = {"budget": 4, "dimension": 64, "acquisition": "information"}
    from_trainer = duelist.select(POOL, trainer, **settings)
    in_memory = duelist.select(POOL, trainer.model, tokenizer=tokenizer, beta=0.7, **settings)
    other_beta = duelist.select(POOL, trainer, beta=5.0, **settings)
    assert from_trainer.rows == in_memory.rows
    assert [p.score for p in from_trainer] == [p.score for p in in_memory]
    assert [p.score for p in other_beta] != [p.score for p in from_trainer]
    trainer.train()  # goes on as before
    with pytest.raises(ModelError, match="A trainer has its own tokenizer"):
        duelist.select(POOL, trainer, tokenizer=tokenizer, budget=1)


def test_the_callback_selects_after_every_epoch_and_never_twice(
    tiny_model: Path, tokenizer: Any, tmp_path: Path
) -> None:
    seen: list[Any] = []
    callback = SelectCallback(
        POOL, tmp_path / "picks", budget=3, when="epoch", on_picks=seen.append, dimension=64, acquisition="activedpo"
    )
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(task_type="CAUSAL_LM", **LORA)
    )
    trainer = trainer_of(adapted, tmp_path, tokenizer, callbacks=[callback])
    trainer.train()
    written = [
        [json.loads(line) for line in (tmp_path / "picks" / f"epoch-{i}.jsonl").read_text().splitlines()]
        for i in (1, 2)
    ]
    assert [[r["row"] for r in one] for one in written] == [picks.rows for picks in seen]
    assert len({r["row"] for one in written for r in one}) == 6
    with_last = duelist.select(
        POOL, trainer, budget=3, dimension=64, labelled=[pick.as_row() for pick in seen[0]], acquisition="activedpo"
    )
    assert with_last.rows == seen[1].rows  # of the model after the second epoch


def test_the_callback_refuses_what_would_fail_after_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`when` must be 'epoch' or 'end', but got 'epochs'"):
        SelectCallback(POOL, tmp_path, budget=1, when="epochs")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="Did you mean 'activedpo'"):
        SelectCallback(POOL, tmp_path, budget=1, acquisition="activedp")
    with pytest.raises(TypeError, match="dimensions"):
        SelectCallback(POOL, tmp_path, budget=1, dimensions=64)
    done = tmp_path / "done.jsonl"
    done.write_text(json.dumps(POOL[0]) + "\n")
    rows = len({json.dumps(one) for one in POOL})
    callback = SelectCallback(iter(POOL), tmp_path, budget=rows // 2, when="epoch", labelled=done)
    state = SimpleNamespace(num_train_epochs=2, epoch=1)  # resumed after an epoch: one selection is left
    callback.on_train_begin(None, state, None)
    for begun in (SimpleNamespace(num_train_epochs=2, epoch=0), SimpleNamespace(num_train_epochs=2, epoch=None)):
        with pytest.raises(BudgetError, match=f"2 in this training, and {rows - 1} distinct pairs"):
            callback.on_train_begin(None, begun, None)
    callback.on_train_begin(None, SimpleNamespace(num_train_epochs=sys.maxsize, epoch=0), None)


def test_picks_become_a_dataset_and_a_page(tiny_model: Path, tokenizer: Any) -> None:
    pool = datasets.Dataset.from_list([{**row(i), "note": i} for i in range(6)] + [{**row(9), "response_b": "<b>w1"}])
    picks = duelist.select(pool, str(tiny_model), budget=7, acquisition="random")
    rows = picks.to_dataset(keep_columns=True)
    assert rows["row"] == picks.rows
    assert rows["note"] == [pool[i].get("note") for i in picks.rows]
    assert pool.select(picks.rows)["response_a"] == rows["response_a"]
    assert set(picks.to_dataset().column_names) == {"prompt", "response_a", "response_b", "rank", "row"}
    page = picks._repr_html_()
    assert "<b>7 picks</b>" in page
    assert "&lt;b&gt;w1" in page
    assert "<b>w1" not in page
