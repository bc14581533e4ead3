"""Cards of the model and of the preferences, in the Hub's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData

from duelist._version import __version__
from duelist.sharing.facts import Facts

HERE = Path(__file__).parent
TAGS = ["duelist", "preference-learning", "active-learning"]
USE = {
    "adapter": (
        "from peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained({repo!r})"
    ),
    "model": (
        "from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained({repo!r})"
    ),
    "reward_model": (
        "from huggingface_hub import snapshot_download\n\n"
        "folder = snapshot_download({repo!r})  # the reward model of a Duelist study, on embeddings"
    ),
}
WHAT = {
    "adapter": "LoRA adapter of `{base}`, trained on preferences.",
    "model": "`{base}`, trained on preferences with all its parameters.",
    "reward_model": "Reward model trained on preferences.",
}


def model_card(f: Facts, repo: str, dataset: str | None, license: str | None) -> ModelCard:
    """Return the card of the weights."""
    data = ModelCardData(
        base_model=f.base if f.base_on_hub else None,
        datasets=[x for x in (dataset, f.prompts) if x] or None,
        library_name={"adapter": "peft", "model": "transformers"}.get(f.trains),
        pipeline_tag=None if f.trains == "reward_model" else "text-generation",
        license=license,
        tags=TAGS,
    )
    use, summary = USE[f.trains].format(repo=repo), WHAT[f.trains].format(base=f.base)
    words = _words(f, repo, dataset, license)
    card: ModelCard = ModelCard.from_template(
        data, template_path=str(HERE / "model_card.md.j2"), use=use, summary=summary, **words
    )
    return card


def dataset_card(f: Facts, repo: str, dataset: str, license: str | None, rows: int, *, named: bool) -> DatasetCard:
    """Return the card of the preferences."""
    data = DatasetCardData(
        license=license,
        task_categories=["text-generation"],
        pretty_name=f"Preferences of {f.name}",
        tags=[*TAGS, "trl"],
        configs=[{"config_name": "default", "data_files": "preferences.jsonl"}],
    )
    words, path = _words(f, repo, dataset, license), str(HERE / "dataset_card.md.j2")
    card: DatasetCard = DatasetCard.from_template(data, template_path=path, rows=rows, named=named, **words)
    return card


def _words(f: Facts, repo: str, dataset: str | None, license: str | None) -> dict[str, Any]:
    stages = dict(f.stages)
    return {
        "f": f,
        "repo": repo,
        "dataset": dataset,
        "rule": stages["acquisition"],
        "sampler": stages["sampler"],
        "who": _who(f),
        # A template's variable of the metadata's name would be its value.
        "license": f"License: {license}." if license else "The publisher stated no license: ask before you use it.",
        "version": __version__,
    }


def _who(f: Facts) -> str:
    """Return who labelled, in a sentence."""
    if f.annotator in ("people", "cascade"):
        return f"{f.people} annotator{'' if f.people == 1 else 's'} answered."
    if f.annotator == "dataset_labels":
        return "The answers are those of the data set: its own card says who gave them."
    return "No person labelled: the answers are computed."
