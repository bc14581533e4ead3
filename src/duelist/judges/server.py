"""Judge on a server with OpenAI's chat completions API.

Formula:   with log-probabilities: P(first), P(second), P(equal) from those of the alternatives A, B, C of the answer's
           first token; otherwise the shares of these letters among sampled answers (`judges.opinions`).

What the server can do is found out by small requests first (`judges.server_probe`). Both orders of every pair are
asked. A request whose answer cannot be read after all retries, or that the server refuses, leaves its order without a
verdict. If the server cannot be reached, the judge stops, and what was judged is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any
from uuid import uuid4

import httpx2

from duelist.errors import BudgetError, ModelError
from duelist.judgement import Judgement
from duelist.judges.asking import Asking
from duelist.judges.base import Comparison, Judge
from duelist.judges.cache import Kept, VerdictCache
from duelist.judges.chat_answers import alternatives, log_prob_of_choices, shares, texts
from duelist.judges.chat_client import ChatClient, ChatRequest
from duelist.judges.config import JudgeConfig
from duelist.judges.counting import Counter
from duelist.judges.opinions import mass, opinion, turned
from duelist.judges.rubric import Rubric, choices
from duelist.judges.server_probe import ONE_TOKEN, SAMPLE_TOKENS, Abilities, probe
from duelist.progress import Advance, Progress
from duelist.seeding import derived_seed
from duelist.settings.servers import authorization
from duelist.types import content_id

_SEEDS = 2**31


class ServerJudge(Judge):
    """Judge on a server.

    Args:
        config: the settings.
        folder: where answers are kept; None for memory.
        transport: transport of the requests; None for the network.
        pause: waits so many seconds before a retry, for tests; None waits.
    """

    def __init__(
        self,
        config: JudgeConfig,
        folder: Path | None,
        transport: httpx2.BaseTransport | None = None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        assert config.model is not None
        self.config = config
        self._rubric = Rubric.read(config.rubric)
        self._letters = choices(config.ties)
        self._folder, self._transport, self._pause = folder, transport, pause
        self.name = f"judge:{config.model}:{self._rubric.name}"
        self._headers = authorization(config.api_key_variable, "`api_key_variable`")

    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        if not comparisons:
            return []
        self._report_lost(progress)
        client = ChatClient(self.config, self._headers, self._cache, self.name, self._transport, self._pause)
        try:
            if self._abilities is None:
                self._abilities = self._probe(client, progress)
            asked = [self._asked(c, *sides, seed) for c in comparisons for sides in ((c.a, c.b), (c.b, c.a))]
            with progress.stage("Judging", len(comparisons)) as advance:
                answers = self._answers(client, asked, advance, progress)
        finally:
            client.close()
        log_probs = [self._log_probs([answers.get(r.key) for r in requests]) for requests in asked]
        self._note(log_probs, progress)
        c = self.config
        opinions = [None if lp is None else opinion(lp, c.min_mass, self._read_at) for lp in log_probs]
        return [
            Judgement(opinions[i], turned(opinions[i + 1]), **_costs(answers, [*asked[i], *asked[i + 1]]))
            for i in range(0, len(asked), 2)
        ]

    def _asked(self, comparison: Comparison, first: str, second: str, seed: int) -> list[ChatRequest]:
        """Return the requests for one order of a comparison, complete: no retry changes them."""
        abilities, c = self._known, self.config
        prompt = self._rubric.render(comparison.prompt, first, second, c.ties)
        if abilities.logprobs:
            read = {"max_tokens": ONE_TOKEN, "temperature": 1.0, "logprobs": True, "top_logprobs": c.top_logprobs}
            return [ChatRequest.of(c, prompt, read)]
        sampled = {"max_tokens": SAMPLE_TOKENS, "temperature": c.temperature, **(abilities.constraint or {})}
        samples = c.samples if abilities.varies else 1

        def seeded(number: int) -> int:
            return derived_seed(seed, "judge", content_id(prompt), number) % _SEEDS

        if abilities.several and samples > 1:
            return [ChatRequest.of(c, prompt, {**sampled, "n": samples, "seed": seeded(0)})]
        return [ChatRequest.of(c, prompt, {**sampled, "seed": seeded(i)}) for i in range(samples)]

    def _usable(self, content: Mapping[str, Any]) -> bool:
        """Return whether an answer has what this server showed that it gives."""
        if self._known.logprobs:
            return alternatives(content) is not None
        wanted = self.config.samples if self._known.several and self._known.varies else 1
        return len(texts(content)) == wanted

    def _log_probs(self, answers: Sequence[Kept | None]) -> list[float] | None:
        """Return the log-probability of each choice in one order; None if an answer is missing."""
        there = [kept.answer for kept in answers if kept is not None]
        if len(there) < len(answers):
            return None
        if self._known.logprobs:
            found = alternatives(there[0])
            return None if found is None else log_prob_of_choices(found, self._letters)
        return shares([text for answer in there for text in texts(answer)], self._letters)

    @property
    def _read_at(self) -> float:
        """T of the softmax over the choices: samples are drawn at it already."""
        return self.config.temperature if self._known.logprobs else 1.0

    def _answers(
        self, client: ChatClient, asked: Sequence[Sequence[ChatRequest]], advance: Advance, progress: Progress
    ) -> dict[str, Kept]:
        """Return the answers by key; requests that got none are missing."""
        requests = {r.key: r for of_order in asked for r in of_order}
        counter = Counter([[r.key for of_order in asked[i : i + 2] for r in of_order] for i in range(0, len(asked), 2)])
        found = {key: kept for key in requests if (kept := self._cache.get(key)) is not None}
        advance(counter.ended(found))
        asking = Asking(
            client=client,
            usable=self._usable,
            concurrency=self.config.concurrency,
            one_first=self._has_budget,  # what a request costs is seen at the first one
            may_send=self._over_budget,
            ended=lambda key: advance(counter.ended([key])),
        )
        asking.ask([r for key, r in requests.items() if key not in found], found)
        if asking.refused:
            progress.note(
                f"{len(asking.refused)} of {len(requests)} requests to the judge got no usable answer, so their orders "
                f"have no verdict. The first: {asking.refused[0]}"
            )
        if asking.failure is not None:
            raise asking.failure
        return found

    @property
    def _has_budget(self) -> bool:
        return self.config.max_cost is not None or self.config.max_tokens_total is not None

    def _over_budget(self, flying: int) -> BudgetError | None:
        """Return an error if another request could exceed the budget, with those in flight at the largest seen."""
        c = self.config
        if not self._has_budget:
            return None
        spent = self._cache.spent(self.name)
        tokens = spent.tokens_in + spent.tokens_out
        more = flying + 1
        for name, limit, used, largest, unit in (
            ("max_cost", c.max_cost, spent.cost, spent.most, f" {c.currency}"),
            ("max_tokens_total", c.max_tokens_total, tokens, spent.largest, " tokens"),
        ):
            if limit is not None and used + more * largest > limit:
                return BudgetError(
                    f"The judge {self.name} may use {limit:g}{unit} (`{name}`), but {spent.requests} requests have "
                    f"used {used:g}, and {more} more may use {more * largest:g}. All verdicts so far are kept: raise "
                    f"`{name}` and run the same command again, or judge fewer pairs."
                )
        return None

    def _probe(self, client: ChatClient, progress: Progress) -> Abilities:
        c, session = self.config, uuid4().hex

        def ask(prompt: str, settings: Mapping[str, Any]) -> Kept:
            over = self._over_budget(0)
            if over is not None:
                raise over
            request = ChatRequest.of(c, prompt, settings)
            # What the server does now is what counts: no answer of an earlier session is taken from the cache.
            return client.ask(ChatRequest(request.body, content_id("probe", session, request.key)), _has_choice)

        found = probe(c, self._letters, ask)
        if not found.counts and (c.price_in or c.price_out or c.max_tokens_total is not None):
            raise ModelError(
                f"Prices and budgets need a server that counts tokens (`usage`), but {c.base_url} does not: set "
                "`price_in`, `price_out`, `max_cost` and `max_tokens_total` to their defaults, or use another server."
            )
        for note in found.notes:
            progress.note(note)
        return found

    def _report_lost(self, progress: Progress) -> None:
        lost = self._cache.count_lost()
        if lost:
            progress.note(
                f"{lost} request{'s were' if lost > 1 else ' was'} in flight to a judge when a process ended before. "
                "What they cost is not known, and those that are needed are paid for again."
            )

    def _note(self, log_probs: Sequence[Sequence[float] | None], progress: Progress) -> None:
        masses = [mass(lp) for lp in log_probs if lp is not None]
        low = sum(m < self.config.min_mass for m in masses)
        spent = self._cache.spent(self.name)
        progress.note(
            f"Judge {self.name}: "
            + (f"{fmean(masses):.3f} of its answers are {', '.join(self._letters)} on average; " if masses else "")
            + f"{len(log_probs) - len(masses) + low} of {len(log_probs)} verdicts are not usable. So far "
            f"{spent.requests} requests ({spent.failed} failed, {spent.lost} lost), {spent.tokens_in} tokens read, "
            f"{spent.tokens_out} written" + (f", {spent.cost:.4g} {self.config.currency}." if spent.cost else ".")
        )

    @property
    def _known(self) -> Abilities:
        assert self._abilities is not None
        return self._abilities

    _abilities: Abilities | None = None

    @cached_property
    def _cache(self) -> VerdictCache:
        return VerdictCache(self._folder)


def _has_choice(content: Mapping[str, Any]) -> bool:
    return bool(texts(content))


def _costs(answers: Mapping[str, Kept], requests: Sequence[ChatRequest]) -> dict[str, Any]:
    """Return what the answers to some requests cost when they were asked for."""
    kept = [answers[key] for key in dict.fromkeys(r.key for r in requests) if key in answers]
    return {
        "tokens_in": sum(k.tokens_in for k in kept),
        "tokens_out": sum(k.tokens_out for k in kept),
        "cost": sum((k.cost for k in kept), 0.0),
    }
