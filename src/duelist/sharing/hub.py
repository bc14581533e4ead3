"""Upload of a publication to the Hugging Face Hub, or to another server that speaks its API (`HF_ENDPOINT`)."""

from __future__ import annotations

from dataclasses import dataclass

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from duelist.errors import RecipeError, StorageError
from duelist.sharing.publication import Publication


@dataclass(frozen=True)
class Pushed:
    """Addresses of what was uploaded; None for a data set that does not exist."""

    model: str
    dataset: str | None


def require_repo(repo: str) -> None:
    """Raise an error for a name that no repository can have.

    Raises:
        RecipeError: if the name is not usable.
    """
    try:
        validate_repo_id(repo)
        if "/" not in repo:
            raise HFValidationError("it has no owner")
    except HFValidationError as error:
        raise RecipeError(f"A repository's name is OWNER/NAME, but got {repo!r}: correct it. {error}") from error


def require_token() -> None:
    """Raise an error if no token is there; it is never taken from an option or a recipe.

    Raises:
        RecipeError: if there is none.
    """
    if get_token() is None:
        raise RecipeError(
            "Uploading needs a token of the Hub in the environment variable HF_TOKEN, or one stored by `hf auth "
            "login`, but there is none: set it."
        )


def push(publication: Publication, *, public: bool = False) -> Pushed:
    """Create the repositories if they do not exist, and upload the two folders.

    Args:
        publication: what is shared.
        public: whether new repositories can be seen by everybody; existing ones stay as they are.

    Raises:
        StorageError: if the Hub cannot be reached, or refuses.
    """
    api = HfApi()
    uploads = [
        (publication.model, publication.repo, "model"),
        (publication.dataset, publication.dataset_repo, "dataset"),
    ]
    addresses: dict[str, str] = {}
    for folder, repo, kind in uploads:
        if folder is None:
            continue
        try:
            api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
            title = "Upload the study's weights" if kind == "model" else "Upload the study's preferences"
            api.upload_folder(repo_id=repo, folder_path=folder, repo_type=kind, commit_message=title)
        except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
            done = f" {', '.join(addresses.values())} is uploaded." if addresses else ""
            raise StorageError(
                f"The Hub must take {repo}, but did not: {error}. Check the name, the token's rights and the network, "
                f"and run the command again.{done}"
            ) from error
        addresses[kind] = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    return Pushed(addresses["model"], addresses.get("dataset"))
