"""What a recipe names, looked up as far as it is within reach: things not prepared yet, or on the hub, may not be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, final

from duelist.annotators.base import Annotator
from duelist.errors import DuelistError, ModelError
from duelist.learners.embedding_sources import require_hidden_states, require_vectors
from duelist.models.embedding_config import EmbeddingConfig
from duelist.models.loading import load_pretrained
from duelist.models.policy_config import PolicyConfig
from duelist.models.rewards import Reward, require_one_output
from duelist.models.sentence_encoder import require_sentence_encoder
from duelist.prompts.dataset import PromptSet, load_prompts
from duelist.recipes.component_settings import Component, build
from duelist.recipes.preparation import prepared_folder
from duelist.recipes.recipe import Recipe, preparation_settings, uses_given_responses, with_prepared
from duelist.rows import SUFFIXES
from duelist.targets import Targets

PREPARED = "{prepared}"
HEAVY = ("reward_model", "model")  # components that load a model when they are made
Found = TypeVar("Found")


def is_local(name: str, endings: tuple[str, ...] = ()) -> bool:
    """Whether a path or hub name can only be a path, or is one that exists."""
    return name.startswith(("/", ".", "~")) or name.endswith(endings or ("/",)) or Path(name).exists()


@final
class Reach:
    """Looks things up; of what is out of reach it returns None, and notes why.

    Attributes:
        notes: a line on each thing that is out of reach.
    """

    def __init__(self, *, offline_ok: bool) -> None:
        """Begin without notes.

        Args:
            offline_ok: whether a name on the hub may be out of reach; if not, that is an error.
        """
        self._offline_ok = offline_ok
        self.notes: list[str] = []

    def with_what_is_prepared(self, recipe: Recipe) -> Recipe:
        """The recipe with `{prepared}` filled in, if that is there already."""
        if recipe.prepare is None:
            return recipe
        folder = prepared_folder(recipe.prepare.function, preparation_settings(recipe))
        if folder.is_dir():
            return with_prepared(recipe, folder)
        self.notes.append(
            f"{recipe.prepare.function} would first make models and data in {folder}; sizes are known after that."
        )
        return recipe

    def judge(self, kind: str, component: Component, interface: type[Annotator] | type[Reward]) -> None:
        """Look at an annotator or a reward; a reward model's configuration is read, not its weights.

        Raises:
            DuelistError: if it is not usable.
        """
        if PREPARED in str(component):
            return
        if component["name"] not in HEAVY:
            build(kind, component, interface)
            return
        from transformers import AutoConfig

        model = str(component["model"])

        def read() -> None:
            config = load_pretrained(AutoConfig, model, f"{kind}.model", component.get("revision"))
            require_one_output(config.num_labels, model)

        self._read(read, is_local(model), "The reward model's configuration is")

    def prompts(self, recipe: Recipe) -> PromptSet | None:
        """The prompts.

        Raises:
            DataError: if they are not usable.
        """
        config = recipe.prompts
        if PREPARED in f"{config.path}{config.held_out_path}":
            return None
        read = partial(load_prompts, config, recipe.seed, responses=uses_given_responses(recipe))
        return self._read(read, is_local(config.path, SUFFIXES), "The prompts are")

    def targets(self, recipe: Recipe, prompts: PromptSet | None) -> None:
        """Look at the prompts that matter.

        Raises:
            DataError: if they are not usable.
        """
        config = recipe.target
        if prompts is None or PREPARED in str(config.path):
            return
        local = config.path is None or is_local(config.path, SUFFIXES)
        read = partial(Targets.load, config, prompts, recipe.seed, responses=uses_given_responses(recipe))
        self._read(read, local, "The target's prompts are")

    def embedding(self, recipe: Recipe, key: str, config: EmbeddingConfig, prompts: PromptSet | None) -> None:
        """Refuse a source of embeddings that is not there, or a file without vectors of the data set's own responses.

        Raises:
            DuelistError: naming the key.
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

    def model_config(self, policy: PolicyConfig) -> Any:
        """The base model's configuration.

        Raises:
            ModelError: if the model is not there, or a start for the policy is not.
        """
        from transformers import AutoConfig

        for key in ("initial_adapter", "initial_model"):
            start = getattr(policy, key)
            if start is None or PREPARED in start or not is_local(start):
                continue
            if not Path(start).expanduser().is_dir():
                raise ModelError(
                    f"policy.{key} must be a folder that exists, but there is no {start}: correct the path."
                )
        if PREPARED in policy.model:
            return None
        read = partial(load_pretrained, AutoConfig, policy.model, "policy.model", policy.revision)
        return self._read(read, is_local(policy.model), "The model's configuration is")

    def _read(self, read: Callable[[], Found], local: bool, what: str) -> Found | None:
        try:
            return read()
        except DuelistError as error:
            if local or not self._offline_ok:
                raise
            self.notes.append(f"{what} out of reach here: {str(error).splitlines()[0]}")
            return None
