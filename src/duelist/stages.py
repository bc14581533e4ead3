"""The stages of a round. Each leaves an artifact, and what goes on is always what the artifact holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.initial_random import InitialRandom
from duelist.errors import BudgetError
from duelist.evaluation.held_out import evaluate
from duelist.featurizers.base import featurize
from duelist.featurizers.margin import Margin, MarginConfig
from duelist.parts import Parts
from duelist.progress import Progress
from duelist.prompts.dataset import prompts_of_round
from duelist.recipes import Recipe
from duelist.round_policies import RoundPolicies
from duelist.seeding import derived_seed, generator
from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.store.store import AskedPair
from duelist.types import Evaluation, Features, Pair, Prompt, Response, Selection


class Stages:
    """What each stage of a round does, for any round t of one study."""

    def __init__(self, recipe: Recipe, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.folder = folder
        self.store = folder.store
        self.progress = progress

    def prompts(self, t: int) -> tuple[Prompt, ...]:
        """The prompts that round t answers."""
        drawn_in = 1 if self.recipe.pool == "fixed" else t
        return prompts_of_round(self.parts.prompts.train, self.recipe.prompts.per_round, self.recipe.seed, drawn_in)

    def sample(self, t: int, prompts: Sequence[Prompt]) -> list[Response]:
        """Draw round t's responses; a fixed pool's are those of round 1."""
        if self.recipe.pool == "fixed" and t > 1:
            return self.folder.read(1, "sample", codecs.RESPONSES)
        return self.folder.run(
            t,
            "sample",
            codecs.RESPONSES,
            lambda: self.parts.sampler.sample(
                self._policies.after(t - 1),
                prompts,
                self.parts.prompts.given,
                t,
                self._seed("sample", t),
                self.progress,
            ),
        )

    def pair(self, t: int, responses: Sequence[Response], past: Sequence[Pair]) -> list[Pair]:
        """The pairs that may be asked in round t: those that were not asked before."""
        asked = {p.id for p in past}

        def compute() -> list[Pair]:
            pairs = [p for p in self.parts.pairing.pairs(responses, self.parts.prompts.given, t) if p.id not in asked]
            rounds_to_serve = self.recipe.rounds - t + 1 if self.recipe.pool == "fixed" else 1
            if len(pairs) < rounds_to_serve * self.recipe.budget:
                raise BudgetError(
                    f"`budget <= candidate pairs` must hold, but budget={self.recipe.budget} for {rounds_to_serve} "
                    f"round(s) needs {rounds_to_serve * self.recipe.budget} pairs, and round {t} has {len(pairs)} that "
                    "were not asked before: lower the budget or the rounds, or use more prompts or more responses per "
                    "prompt (equal responses make no pair)."
                )
            return pairs

        return self.folder.run(t, "pair", codecs.pairs(responses), compute)

    def featurize(self, t: int, candidates: Sequence[Pair], past: Sequence[Pair]) -> Features:
        """What the acquisition needs to know of the candidates, and of the past pairs if it asks for them."""
        needs = self._acquisition(t).needs
        return self.folder.run(
            t, "featurize", codecs.FEATURES, lambda: self._features(t, needs, candidates, past, self.parts.featurizers)
        )

    def select(self, t: int, prompts: Sequence[Prompt], candidates: Sequence[Pair], features: Features) -> None:
        """Choose the pairs to ask, and record them as asked."""

        def compute() -> tuple[Selection, list[AskedPair], list[Prompt]]:
            rng = generator(self.recipe.seed, "select", t)
            selection = choose(self._acquisition(t), features, self.recipe.budget, rng)
            chosen = [candidates[i] for i in selection.indices_B]
            # Whatever the rule, the margins of what it chose are worth knowing; they cost 2B forward passes.
            margin = [Margin(MarginConfig())]
            margin_B = self._features(t, frozenset({"margin_N"}), chosen, [], margin).margin_N
            scores = zip(chosen, selection.scores_B.tolist(), np.asarray(margin_B).tolist(), strict=True)
            asked = [AskedPair(p, t, i, score, selection.unit, m) for i, (p, score, m) in enumerate(scores)]
            needed = {r.prompt_id for p in chosen for r in (p.a, p.b)}
            return selection, asked, [p for p in prompts if p.id in needed]

        self.folder.run_selection(t, compute)

    def train(self, t: int) -> Mapping[str, float]:
        """Train on the labels so far, and keep the adapter."""
        plan = self.parts.trainer.plan
        preferences = self.store.preferences(None if plan.accumulate == "all" else t, votes=plan.votes, ties=plan.ties)

        def fill(target: Path) -> Mapping[str, float]:
            policy = self._policies.to_train(t)
            seed = self._seed("train", t)
            done = (
                self.parts.trainer.train(policy, preferences, self.recipe.beta, seed, self.progress)
                if preferences
                else {}
            )
            policy.save_adapter(target)
            return {**done, "preferences": float(len(preferences))}

        return self.folder.run_adapter(t, fill)

    def evaluate(self, t: int) -> Evaluation:
        """Measure the policy as round t left it."""

        def compute() -> Evaluation:
            samples = [] if t == 0 else self.folder.read(0, "evaluate", codecs.EVALUATION).samples
            rewards = [s["reward"] for s in samples]
            return evaluate(
                self._policies.after(t),
                self.parts.prompts.held_out,
                self.parts.reward,
                None if t == 0 or None in rewards else np.array(rewards, dtype=np.float64),
                self.recipe.evaluation,
                initial_adapter=self._policies.reference(0),
                beta=self.recipe.beta,
                round=t,
                seed=self._seed("evaluate"),  # the same random numbers every round: rounds differ by the policy alone
                progress=self.progress,
            )

        return self.folder.run(t, "evaluate", codecs.EVALUATION, compute)

    def measure_initial_model(self) -> None:
        """Round 0: keep the adapter training starts from, and measure the model before any label."""
        if self.store.metrics():
            return

        def fill(target: Path) -> Mapping[str, Any]:
            self._policies.initial.save_adapter(target)
            return {"base_model": self._policies.initial.fingerprint(adapters=False)}

        self.folder.run_adapter(0, fill)
        self.folder.close_round(0, self.evaluate(0).metrics)

    @cached_property
    def parts(self) -> Parts:
        """The components that the recipe names, made when first used."""
        return Parts(self.recipe, self.progress)

    @cached_property
    def _policies(self) -> RoundPolicies:
        start = self.folder.stage(0, "train")
        base = None if start is None else start.info.get("base_model")
        plan = self.parts.trainer.plan
        return RoundPolicies(self.parts.policy_config, plan, self.folder.adapter, self._seed("lora"), base)

    def _acquisition(self, t: int) -> Acquisition:
        random_picks = self.recipe.initial_random - (t - 1) * self.recipe.budget
        rule = self.parts.acquisition
        return InitialRandom(rule, random_picks, self.recipe.budget) if random_picks > 0 else rule

    def _features(
        self,
        t: int,
        needs: frozenset[str],
        candidates: Sequence[Pair],
        past: Sequence[Pair],
        featurizers: Sequence[Any],
    ) -> Features:
        return featurize(
            featurizers,
            needs,
            self._policies.after(t - 1),
            candidates,
            past,
            beta=self.recipe.beta,
            seed=self._seed("projection"),
            progress=self.progress,
        )

    def _seed(self, *names: str | int) -> int:
        return derived_seed(self.recipe.seed, *names)
