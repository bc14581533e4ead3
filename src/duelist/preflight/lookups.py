"""What a recipe names and may be out of reach: not prepared yet, or on the hub without a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from duelist.annotators.base import Annotator
from duelist.data.prompts import PromptSet, load_prompts
from duelist.data.sources import SUFFIXES
from duelist.errors import DuelistError, ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sentence_encoder import require_sentence_encoder
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import load_pretrained
from duelist.models.rewards.functions import FunctionReward, Reward, require_one_output
from duelist.preflight.embedding_sources import require_hidden_states, require_vectors
from duelist.recipe.component_settings import build
from duelist.recipe.preparation import prepared_folder
from duelist.recipe.recipe import Recipe, preparation_settings, uses_given_responses, with_prepared
from duelist.settings.validation import expanded
from duelist.study.targets import Targets

PREPARED = "{prepared}"
HEAVY = ("reward_model", "model")  # components that load a model when they are made
Found = TypeVar("Found")


@dataclass(frozen=True)
class Lookups:
    """Looks things up. One that is on this machine must be usable; one on the hub may be let off.

    Attributes:
        offline_ok: whether a name on the hub that cannot be loaded is a note; otherwise it is an error.
        notes: what could not be found out, and why.
    """

    offline_ok: bool
    notes: list[str] = field(default_factory=list)

    def prepared(self, recipe: Recipe) -> Recipe:
        """The recipe with `{prepared}` filled in, if it has been prepared."""
        if recipe.prepare is None:
            return recipe
        folder = prepared_folder(recipe.prepare.function, preparation_settings(recipe))
        if folder.is_dir():
            return with_prepared(recipe, folder)
        if self.offline_ok:  # a study that is about to run prepares it
            self.notes.append(
                f"{recipe.prepare.function} would first make models and data in {folder}; sizes are known after that."
            )
        return recipe

    def prompts(self, recipe: Recipe) -> PromptSet | None:
        """The recipe's prompts.

        Raises:
            DuelistError: if they are within reach and not usable.
        """
        config = recipe.prompts
        if PREPARED in f"{config.path}{config.held_out_path}":
            return None
        read = partial(load_prompts, config, recipe.seed, responses=uses_given_responses(recipe))
        return self._read(read, is_local(config.path, SUFFIXES), "The prompts are")

    def model_config(self, policy: PolicyConfig) -> Any:
        """The base model's configuration.

        Raises:
            ModelError: if it is within reach and cannot be loaded.
        """
        from transformers import AutoConfig

        if PREPARED in policy.model:
            return None
        read = partial(load_pretrained, AutoConfig, policy.model, "policy.model", policy.revision)
        return self._read(read, is_local(policy.model), "The model's configuration is")

    def require_judge(
        self,
        kind: str,
        component: dict[str, Any],
        interface: type[Annotator] | type[Reward],
        prompts: PromptSet | None,
    ) -> None:
        """Refuse an annotator or a reward that cannot be made, or called; of one that loads a model, look at the
        configuration.

        Raises:
            DuelistError: if it is within reach and not usable.
        """
        if PREPARED in str(component):
            return
        if component["name"] not in HEAVY:
            judge: Any = build(kind, component, interface)
            reward = getattr(judge, "reward", judge)
            if isinstance(reward, FunctionReward) and prompts is not None:
                for some in (prompts.train, prompts.held_out):
                    if some:
                        reward.require_columns_taken(some)
            return
        from transformers import AutoConfig

        model = str(component["model"])

        def read() -> None:
            config = load_pretrained(AutoConfig, model, f"{kind}.model", component.get("revision"))
            require_one_output(config.num_labels, model)

        self._read(read, is_local(model), "The reward model's configuration is")

    def require_embedding(self, recipe: Recipe, key: str, config: EmbeddingConfig, prompts: PromptSet | None) -> None:
        """Refuse a source of embeddings that is not there, or a file without vectors of the data set's own responses.

        Raises:
            DuelistError: if it is within reach and not usable.
        """
        require_hidden_states(recipe, key, config)
        if config.path is not None and PREPARED not in config.path:
            require_vectors(recipe, key, config, prompts)
        name = config.model
        if name is None or PREPARED in name:
            return
        if config.source == "sentence_transformers":
            read = partial(require_sentence_encoder, config, f"{key}.model")
        else:
            from transformers import AutoConfig

            read = partial(load_pretrained, AutoConfig, name, f"{key}.model", config.revision)
        self._read(read, is_local(name), "The embedding model's configuration is")

    def require_target(self, recipe: Recipe, prompts: PromptSet | None) -> None:
        """Refuse prompts that matter which cannot be read.

        Raises:
            DuelistError: if they are within reach and not usable.
        """
        config = recipe.target
        if prompts is not None and PREPARED not in str(config.path):
            local = config.path is None or is_local(config.path, SUFFIXES)
            read = partial(Targets.load, config, prompts, recipe.seed, responses=uses_given_responses(recipe))
            self._read(read, local, "The target's prompts are")

    def _read(self, read: Callable[[], Found], local: bool, what: str) -> Found | None:
        try:
            return read()
        except DuelistError as error:
            if local or not self.offline_ok:
                raise
            self.notes.append(f"{what} out of reach here: {str(error).splitlines()[0]}")
            return None


def require_start(policy: PolicyConfig, notes: list[str]) -> None:
    """Refuse a start for the policy that is not there; note one that may be a name on the hub.

    Args:
        policy: the policy.
        notes: is added to.

    Raises:
        ModelError: naming the key.
    """
    for key in ("initial_adapter", "initial_model"):
        value = getattr(policy, key)
        if value is None or PREPARED in value or expanded(value).is_dir():
            continue
        if is_local(value):
            raise ModelError(f"policy.{key} must be a folder that exists, but there is no {value}: correct the path.")
        notes.append(f"policy.{key} is {value}, and no folder of that name is here yet: the study will need it.")


def is_local(name: str, endings: tuple[str, ...] = ()) -> bool:
    """Whether a path or hub name can only be a path, or is one that exists."""
    return name.startswith(("/", ".", "~")) or name.endswith(endings or ("/",)) or Path(name).exists()
