"""Settings of a judge: which model compares two responses, by which rubric, and what it may cost."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from duelist.settings.servers import server_url

Kind = Literal["model", "server", "reward_model", "function"]

_EVERY = {"base_url", "model", "reward_model", "function"}
_LANGUAGE = {"model", "rubric", "ties", "min_mass", "temperature", "cache"}
_LOADED = {"revision", "dtype", "device", "load"}
# The settings that each kind of judge reads. Any other would have no effect, and is rejected.
_READ_BY: dict[Kind, set[str]] = {
    "model": _LANGUAGE | _LOADED | {"chat_template_arguments", "batch_tokens"},
    "server": _LANGUAGE
    | {"base_url", "verdicts", "top_logprobs", "samples", "constrain", "extra_body", "api_key_variable"}
    | {"concurrency", "timeout", "retries", "price_in", "price_out", "currency", "max_cost"}
    | {"max_tokens_total"},
    "reward_model": _LOADED | {"reward_model", "temperature", "input", "batch_size"},
    "function": {"function", "arguments"},
}
_IN_WORDS: dict[Kind, str] = {
    "model": "a language model in this process",
    "server": "a model on a server",
    "reward_model": "a reward model",
    "function": "a function",
}


class JudgeConfig(BaseModel):
    """Settings of a judge. Give one of `model`, `base_url` with `model`, `reward_model` and `function`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str | None = Field(
        default=None,
        description="Folder or Hub name of a causal language model; with `base_url`, the model's name on the server.",
    )
    base_url: str | None = Field(
        default=None,
        description="Root URL of an OpenAI-compatible chat completions API, such as http://localhost:8000/v1.",
    )
    reward_model: str | None = Field(
        default=None, description="Folder or Hub name of an AutoModelForSequenceClassification with one output."
    )
    function: str | None = Field(
        default=None,
        description="`package.module:name` or `file.py:name`; called as f(prompts=[...], first=[...], second=[...], "
        "**columns), once per order; returns per comparison None, or the probabilities that the first is better, the "
        "second, and that they are equal.",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="Additional keyword arguments of `function`.")
    rubric: str = Field(
        default="helpfulness", description="`helpfulness`, `harmlessness`, or a Jinja file with a rubric of your own."
    )
    ties: bool = Field(default=True, description="Whether the judge may say that the two are equal.")
    min_mass: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least probability (or share of samples) that must fall on the choices; below, the verdict is not "
        "used (outcome `unparsed`).",
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="T of P = softmax(log p / T) over the choices, of the samples, and of σ((r_a − r_b) / T) with a "
        "reward model.",
    )
    revision: str | None = Field(default=None, description="Revision of a model on the Hub.")
    dtype: Literal["float32", "bfloat16", "float64"] = Field(default="float32", description="Type of the weights.")
    device: str = Field(default="auto", description="cpu, cuda ...; auto uses a GPU if there is one.")
    load: dict[str, Any] = Field(
        default_factory=dict, description="Additional arguments of from_pretrained, such as `gguf_file`."
    )
    chat_template_arguments: dict[str, Any] = Field(
        default_factory=dict, description="Variables of the model's chat template, such as `enable_thinking: false`."
    )
    batch_tokens: int = Field(default=8192, ge=1, description="Maximum number of tokens of a batch, padding included.")
    input: Literal["conversation", "segments"] = Field(
        default="conversation", description="Input format of a reward model, as for the annotator `reward_model`."
    )
    batch_size: int = Field(default=32, gt=0, description="Texts that a reward model scores per batch.")
    verdicts: Literal["auto", "logprobs", "samples"] = Field(
        default="auto",
        description="How a server's verdict is read. logprobs: from the probabilities of the answer's first token, or "
        "stop if the server does not give them; samples: from `samples` answers; auto: logprobs if the server gives "
        "them, samples otherwise.",
    )
    top_logprobs: int = Field(default=20, ge=2, le=100, description="Number of alternatives asked for with logprobs.")
    samples: int = Field(default=8, ge=1, description="Answers per order, where verdicts are sampled.")
    constrain: bool = Field(
        default=True, description="Constrain sampled answers to the choices, where the server can do it."
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Additional fields of every request, such as `reasoning_effort`."
    )
    api_key_variable: str | None = Field(
        default=None, description="Environment variable with the API key; null: no key is sent."
    )
    concurrency: int = Field(default=16, ge=1, description="Maximum number of requests in flight.")
    timeout: float = Field(default=120.0, gt=0, description="Time until a whole answer must be there, in seconds.")
    retries: int = Field(
        default=5, ge=0, description="Retries of a failed request, with growing pauses or as the server says."
    )
    price_in: float = Field(default=0.0, ge=0, description="Price per million tokens read.")
    price_out: float = Field(default=0.0, ge=0, description="Price per million tokens written.")
    currency: str = Field(default="USD", description="Currency of the prices.")
    max_cost: float | None = Field(
        default=None, gt=0, description="Money that the judge may cost in the study; null: no limit."
    )
    max_tokens_total: int | None = Field(
        default=None, gt=0, description="Tokens that the judge may read and write in the study; null: no limit."
    )
    cache: str | None = Field(
        default=None,
        description="Folder of the cache of verdicts, which studies may share; null: the study's own folder.",
    )

    @property
    def kind(self) -> Kind:
        """What judges."""
        if self.base_url is not None:
            return "server"
        if self.model is not None:
            return "model"
        return "reward_model" if self.reward_model is not None else "function"

    @field_validator("base_url")
    @classmethod
    def _url_of_a_server(cls, url: str | None) -> str | None:
        return None if url is None else server_url(url)

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        given = [name for name in ("model", "reward_model", "function") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "a judge must be one of `model` (with `base_url` if it is on a server), `reward_model` and `function`, "
                f"but {', '.join(f'`{n}`' for n in given) or 'none of them'} is set: set one."
            )
        if self.base_url is not None and self.model is None:
            raise ValueError(f"`base_url` needs `model`, the model's name on the server, but has `{given[0]}`: set it.")
        # A saved recipe has every default filled in. Settings that a subclass adds are its own affair.
        fields = JudgeConfig.model_fields.items()
        changed = {
            name for name, field in fields if getattr(self, name) != field.get_default(call_default_factory=True)
        }
        without_effect = sorted(changed - _READ_BY[self.kind] - _EVERY)
        if without_effect:
            raise ValueError(
                f"`{without_effect[0]}` must not be set for {_IN_WORDS[self.kind]}, which does not read it: remove it."
            )
        if self.max_cost is not None and not self.price_in + self.price_out:
            raise ValueError("`max_cost` needs the prices `price_in` and `price_out`, but both are 0: set them.")
        return self
