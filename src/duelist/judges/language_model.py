"""Judge by a causal language model in this process: the probabilities of its answer, read from the logits.

Formula:   P(first), P(second), P(equal) from the probabilities of the answers A, B, C as the first thing that the model
           says (`judges.opinions`). Nothing is drawn and nothing is parsed.

A model with a chat template is asked in one user message. A base model reads the rubric and `Answer:`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from duelist.engines.base import Engine
from duelist.engines.local import Local
from duelist.errors import ModelError
from duelist.judgement import Judgement
from duelist.judges.base import Comparison, Judge
from duelist.judges.cache import Kept, VerdictCache
from duelist.judges.config import JudgeConfig
from duelist.judges.counting import Counter
from duelist.judges.opinions import mass, opinion, turned
from duelist.judges.rubric import Rubric, choices
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.settings.credentials import with_credentials
from duelist.types import content_id

if TYPE_CHECKING:
    from duelist.models.policy.choice_logprobs import ChoicePrompt
    from duelist.models.policy.fixed_model import FixedModel

PLAIN_END = "\n\nAnswer:"


class LanguageModelJudge(Judge):
    """Judge by a causal language model in this process.

    Args:
        config: the settings.
        folder: where log-probabilities are kept; None for memory.
    """

    def __init__(self, config: JudgeConfig, folder: Path | None) -> None:
        assert config.model is not None
        self.config = config
        self._model_name = config.model
        self._rubric = Rubric.read(config.rubric)
        self._letters = choices(config.ties)
        self._folder = folder
        self._engine: Engine = Local()
        self.name = f"judge:{Path(config.model).name}:{self._rubric.name}"

    def check(self, context: Context) -> None:
        if not context.lookups.may_import("the judge's `model`"):
            return

        def read() -> None:
            from transformers import AutoConfig

            from duelist.models.policy.loading import load_pretrained

            c = self.config
            arguments = {k: v for k, v in c.load.items() if k == "gguf_file"}
            load_pretrained(AutoConfig, self._model_name, "the judge's `model`", c.revision, **arguments)

        context.lookups.read(self._model_name, read, "The judge's configuration is")

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine

    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        asked = [self._asked(c, *sides) for c in comparisons for sides in ((c.a, c.b), (c.b, c.a))]
        found = {x.key: kept for x in asked if (kept := self._cache.get(x.key)) is not None}
        limit = self._context_length
        fits = {x.key: x for x in asked if limit is None or x.prompt.length <= limit}
        new = [x for key, x in fits.items() if key not in found]
        counter = Counter([(one.key, two.key) for one, two in zip(asked[::2], asked[1::2], strict=True)])
        with progress.stage("Judging", len(comparisons)) as advance:
            advance(counter.ended({x.key for x in asked} - {x.key for x in new}))  # known, or too long to ask
            for batch in self._compute(new, progress):
                self._cache.keep(self.name, batch.items())
                found |= batch
                advance(counter.ended(batch))
        log_probs = [found[x.key].answer["log_probs"] if x.key in found else None for x in asked]
        self._note(len(asked) - sum(x.key in fits for x in asked), log_probs, progress)
        c = self.config
        opinions = [None if lp is None else opinion(lp, c.min_mass, c.temperature) for lp in log_probs]
        tokens = [0 if lp is None else len(x.prompt.prompt_ids) for x, lp in zip(asked, log_probs, strict=True)]
        return [
            Judgement(opinions[i], turned(opinions[i + 1]), tokens_in=tokens[i] + tokens[i + 1])
            for i in range(0, len(asked), 2)
        ]

    def _note(self, too_long: int, log_probs: Sequence[Sequence[float] | None], progress: Progress) -> None:
        if too_long:
            progress.note(
                f"{too_long} of {len(log_probs)} comparisons (each order counts) are longer than the judge's context "
                f"of {self._context_length} tokens: they have no verdict."
            )
        masses = [mass(lp) for lp in log_probs if lp is not None]
        if masses:
            low = sum(m < self.config.min_mass for m in masses)
            progress.note(
                f"Judge {self.name}: {fmean(masses):.3f} of the probability falls on the answers "
                f"{', '.join(self._letters)} on average, {min(masses):.3f} at least; {low} of {len(masses)} verdicts "
                f"have less than `min_mass` {self.config.min_mass:g} and are not used."
            )

    def _compute(self, new: Sequence[_Asked], progress: Progress) -> Any:
        """Yield the answers to new questions by key, batch by batch."""
        from duelist.models.policy.choice_logprobs import choice_log_probs

        groups: dict[Any, list[_Asked]] = {}  # usually one: a prompt's end decides how an answer is written
        for x in new:
            groups.setdefault(x.prompt.spellings, []).append(x)
        compute = partial(self._engine.map, self._source)
        for group in groups.values():
            prompts = [x.prompt for x in group]
            for index_B, log_probs_BC in choice_log_probs(
                self._source.here, prompts, self.config.batch_tokens, compute, progress
            ):
                yield {
                    group[i].key: Kept({"log_probs": row}, tokens_in=len(group[i].prompt.prompt_ids))
                    for i, row in zip(index_B.tolist(), log_probs_BC.tolist(), strict=True)
                }

    def _asked(self, comparison: Comparison, first: str, second: str) -> _Asked:
        from duelist.models.policy.choice_logprobs import choice_prompt

        tokenizer, ties = self._tokenizer, self.config.ties
        text = self._rubric.render(comparison.prompt, first, second, ties, self._special)
        plain = getattr(tokenizer, "chat_template", None) is None
        text = text.rstrip() + PLAIN_END if plain else self._templated(text)
        prompt = choice_prompt(tokenizer, text, self._letters, special_tokens=plain)
        return _Asked(content_id("choice", self._source.fingerprint, prompt.prompt_ids, prompt.spellings), prompt)

    def _templated(self, text: str) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [{"role": "user", "content": text}],
                    tokenize=False,
                    add_generation_prompt=True,
                    **self.config.chat_template_arguments,
                )
            )
        except Exception as error:  # a template may raise any error
            raise ModelError(
                f"The judge's chat template must take a user message, but that of {self._model_name} refuses it: "
                f"{error}. Correct `chat_template_arguments`, or use another model."
            ) from error

    @cached_property
    def _cache(self) -> VerdictCache:
        return VerdictCache(self._folder)

    @cached_property
    def _special(self) -> tuple[str, ...]:
        tokens = [*self._tokenizer.all_special_tokens, *map(str, self._tokenizer.get_added_vocab())]
        return tuple(dict.fromkeys(t for t in tokens if len(t) > 1 and t.strip() == t))

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        from duelist.models.policy.loading import load_pretrained

        c = self.config
        arguments = {k: v for k, v in c.load.items() if k in ("gguf_file", "trust_remote_code", "token")}
        return load_pretrained(AutoTokenizer, self._model_name, "the judge's `model`", c.revision, **_given(arguments))

    @cached_property
    def _source(self) -> FixedModel:
        from duelist.models.policy.fixed_model import FixedModel

        return FixedModel(read_judge, self.config, self._model_name)

    @cached_property
    def _context_length(self) -> int | None:
        from duelist.models.policy.positions import context_length

        return context_length(self._source.here.config)


def read_judge(config: JudgeConfig) -> Any:
    """Load the judge's model, in evaluation mode.

    Raises:
        ModelError: if it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    from duelist.models.policy.loading import device_of, load_pretrained

    name, load = str(config.model), _given(config.load)
    loader, dtype = AutoModelForCausalLM, config.dtype
    model = load_pretrained(loader, name, "the judge's `model`", config.revision, dtype=dtype, **load)
    return model.to(device_of(config.device)).eval()


@dataclass(frozen=True)
class _Asked:
    """One order of a comparison, as the model reads it."""

    key: str
    prompt: ChoicePrompt


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return dict(with_credentials(dict(arguments)))
