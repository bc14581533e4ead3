"""Rewards from a Python function or a reward model, used by annotators and reported by the evaluation."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.engines.base import Engine
from duelist.engines.local import Local
from duelist.errors import DataError, ModelError, RewardError
from duelist.progress import Progress, Silent
from duelist.settings.context import Checked, Context
from duelist.settings.list_function import ListFunction
from duelist.types import Prompt, Response

if TYPE_CHECKING:
    from duelist.models.policy.fixed_model import FixedModel

Encoded = dict[str, list[int]]  # a tokenizer's output for one text: input_ids, attention_mask ...


class Reward(Checked, ABC):
    """Interface of a reward for responses; higher is better."""

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        """Compute with this engine what a model in memory computes batch by batch; the default is this process.

        Args:
            engine: the engine.
            progress: is told of failures that were recovered from.
        """

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> NDArray[np.float64]:
        """Return one finite reward per response, `[R]`; `responses[i]` is a response to `prompts[i]`.

        Raises:
            RewardError: if a reward is missing or not a finite number.
            DataError: if a response cannot be scored, for example because it is too long.
        """


class FunctionRewardConfig(BaseModel):
    """Settings of a reward from a Python callable, with the signature of TRL's reward functions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str = Field(
        description="`package.module:name` or `file.py:name`; called as f(prompts=[...], completions=[...], **columns) "
        "with the prompts' other columns as lists; returns one number per completion."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="Additional keyword arguments of the function.")


class FunctionReward(Reward):
    """Reward from a function that scores a list of completions, called as in TRL's trainers."""

    def __init__(self, config: FunctionRewardConfig) -> None:
        self.config = config
        lists, returns = ["completions"], ("number", "completion")
        self._function = ListFunction(
            config.function, config.arguments, lists, "reward function", returns, plain=_python_number
        )

    def check(self, context: Context) -> None:
        for prompts in (context.train, context.held_out):
            self._function.require_columns(prompts)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> NDArray[np.float64]:
        completions = [r.as_trl(p) for p, r in zip(prompts, responses, strict=True)]
        return finite_rewards(
            self._function(prompts, completions=completions), prompts, responses, self.config.function
        )


def _python_number(value: Any) -> Any:
    """Return the number in an array of one; other values as they are."""
    return value.item() if hasattr(value, "item") else value


class ModelRewardConfig(BaseModel):
    """Settings of a reward from a sequence-classification model with one output."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(description="Folder or Hub name of an AutoModelForSequenceClassification with one output.")
    revision: str | None = Field(default=None, description="Revision of a model on the Hub.")
    input: Literal["conversation", "segments"] = Field(
        default="conversation",
        description="Input format: the conversation as one text, as TRL trains reward models; or prompt and response "
        "as two segments, as encoders are trained (e.g. OpenAssistant's DeBERTa).",
    )
    dtype: Literal["float32", "bfloat16", "float64"] = Field(default="float32", description="Type of the weights.")
    device: str = Field(default="auto", description="cpu, cuda ...; auto uses a GPU if there is one.")
    batch_size: int = Field(default=32, gt=0, description="Texts scored per batch.")
    load: dict[str, Any] = Field(default_factory=dict, description="Additional arguments of from_pretrained.")


class ModelReward(Reward):
    """Reward from a model trained with TRL's `RewardTrainer`, or from an encoder that reads two segments."""

    def __init__(self, config: ModelRewardConfig, kind: str = "reward") -> None:
        """Store the settings; the model is loaded at the first call of `score`. `kind` is its key in the recipe."""
        self.config = config
        self._kind = kind
        self._engine: Engine = Local()
        self._progress: Progress = Silent()

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        self._engine, self._progress = engine, progress

    def check(self, context: Context) -> None:
        name, revision = self.config.model, self.config.revision
        if not context.lookups.may_import(f"`{self._kind}.model`"):
            return

        def read() -> None:
            from transformers import AutoConfig

            from duelist.models.policy.loading import load_pretrained

            found = load_pretrained(AutoConfig, name, f"{self._kind}.model", revision)
            require_one_output(found.num_labels, name)

        context.lookups.read(name, read, "The reward model's configuration is")

    @cached_property
    def _tokenizer(self) -> Any:
        return _tokenizer_of(self.config)

    @cached_property
    def _source(self) -> FixedModel:
        from duelist.models.policy.fixed_model import FixedModel

        return FixedModel(read_reward_model, self.config, self.config.model)

    @property
    def _model(self) -> Any:
        return self._source.here

    def score(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> NDArray[np.float64]:
        from duelist.models.policy.padding import batches_by_count
        from duelist.models.policy.positions import length_thresholds
        from duelist.models.policy.vocabulary import check_vocabulary

        encode = self._as_conversations if self.config.input == "conversation" else self._as_segments
        encoded = encode(prompts, responses)
        check_vocabulary(self._model.get_input_embeddings(), (e["input_ids"] for e in encoded))
        values = np.empty(len(encoded))
        lengths = [len(e["input_ids"]) for e in encoded]
        by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
        thresholds = length_thresholds(self._model.config)
        planned = list(batches_by_count(by_length, lengths, self.config.batch_size, thresholds))
        batches = [[encoded[i] for i in batch] for batch in planned]
        task = Scores(self._tokenizer.pad_token_id or 0)
        computed = self._engine.map(self._source, task, batches, self._progress)
        for batch, values_B in zip(planned, computed, strict=True):
            values[batch] = values_B
        return finite_rewards(values.tolist(), prompts, responses, self.config.model)

    def _as_conversations(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[Encoded]:
        from duelist.models.policy.tokenization import encode_responses, require_chat_template

        require_chat_template(self._tokenizer, prompts, self.config.model)
        encoded = []
        for prompt, response in zip(prompts, responses, strict=True):
            prompt_ids, (ids,) = encode_responses(self._tokenizer, prompt, [response.text])
            encoded.append({"input_ids": [*prompt_ids, *ids], "attention_mask": [1] * (len(prompt_ids) + len(ids))})
            self._require_fit(prompt, len(encoded[-1]["input_ids"]))
        return encoded

    def _as_segments(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[Encoded]:
        encoded = []
        for prompt, response in zip(prompts, responses, strict=True):
            if len(prompt.messages) != 1:
                raise DataError(
                    "A reward model with `input: segments` reads one question and its answer, but prompt "
                    f"{prompt.id} has {len(prompt.messages)} messages: use `input: conversation` and a reward model "
                    "that reads conversations, or prompts of one message."
                )
            both = self._tokenizer(str(prompt.messages[0]["content"]), response.text.strip())
            encoded.append({key: list(both[key]) for key in both})
            self._require_fit(prompt, len(both["input_ids"]))
        return encoded

    def _require_fit(self, prompt: Prompt, length: int) -> None:
        from duelist.models.policy.positions import context_length
        from duelist.models.policy.tokenization import check_length

        config = self._model.config
        # DeBERTa's positions are relative: a sequence may be longer than any in its training.
        relative = not getattr(config.get_text_config(), "position_biased_input", True)
        limit = None if relative else context_length(config)
        check_length(prompt, length, limit, "a response that the reward model scores")


@final
@dataclass(frozen=True)
class Scores:
    """Task: the model's output for each text of one batch.

    Attributes:
        padding: token id after the end of a shorter text.
    """

    padding: int

    def __call__(self, model: Any, batch: Sequence[Encoded]) -> NDArray[np.float64]:
        import torch

        from duelist.models.policy.padding import padded

        fill = {"input_ids": self.padding}  # the mask and other keys are padded with 0
        inputs = {key: padded([e[key] for e in batch], fill.get(key, 0), model.device) for key in batch[0]}
        with torch.no_grad():
            logits = model(**inputs).logits
        return np.asarray(logits[:, 0].double().cpu().numpy())


def read_reward_model(config: ModelRewardConfig) -> Any:
    """Load a reward model, in evaluation mode.

    Raises:
        ModelError: if it cannot be loaded, or has not one output.
    """
    from transformers import AutoModelForSequenceClassification

    from duelist.models.policy.loading import device_of, load_pretrained

    loader, dtype = AutoModelForSequenceClassification, {"dtype": config.dtype}
    model = load_pretrained(loader, config.model, "the reward model", config.revision, **dtype, **config.load)
    require_one_output(model.config.num_labels, config.model)
    model.config.pad_token_id = _tokenizer_of(config).pad_token_id
    return model.to(device_of(config.device)).eval()


def _tokenizer_of(config: ModelRewardConfig) -> Any:
    from transformers import AutoTokenizer

    from duelist.models.policy.loading import load_pretrained

    tokenizer = load_pretrained(AutoTokenizer, config.model, "the reward model", config.revision)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def require_one_output(outputs: int, model: str) -> None:
    """Require a reward model with one output, not a classifier of several classes or a language model.

    Raises:
        ModelError: if the number of outputs is not one.
    """
    if outputs != 1:
        raise ModelError(
            f"A reward model must have one output, but {model} has {outputs}: use a model trained as a reward model "
            "(num_labels=1)."
        )


def finite_rewards(
    values: Sequence[Any], prompts: Sequence[Prompt], responses: Sequence[Response], name: str
) -> NDArray[np.float64]:
    """Return the rewards as an array and require that all are finite numbers.

    Raises:
        RewardError: if one is not; the message names the response.
    """
    largest: Any = sys.float_info.max  # a larger integer does not fit in the array
    bad = [i for i, v in enumerate(values) if not isinstance(v, Real) or not abs(v) <= largest]
    if bad:
        i = bad[0]
        raise RewardError(
            f"A reward must be a finite number, but {name} gave {values[i]!r} ({len(bad)} of {len(values)} rewards are "
            f"not finite numbers) for {responses[i].text[:60]!r} to prompt {prompts[i].id}. Fix it and run the same "
            "command again; nothing is lost."
        )
    return np.asarray(values, dtype=np.float64)
