"""The arguments that are read from the libraries' source are those of the imported classes."""

from __future__ import annotations

import dataclasses

import peft
import pytest
import trl

from duelist.settings import library_arguments as module
from duelist.settings.library_arguments import library_arguments, require_arguments

CLASSES = {
    "LoraConfig": peft.LoraConfig,
    "DPOConfig": trl.DPOConfig,
    "RewardConfig": trl.RewardConfig,
    "RLOOConfig": trl.RLOOConfig,
    "GRPOConfig": trl.GRPOConfig,
}


def taken(name: str) -> set[str]:
    return {f.name for f in dataclasses.fields(CLASSES[name]) if f.init}


@pytest.mark.parametrize("name", CLASSES)
def test_the_source_declares_what_the_class_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unneeded(library: str) -> None:
        raise AssertionError(f"{library} was imported")

    monkeypatch.setattr(module, "import_module", unneeded)
    assert set(library_arguments.__wrapped__(name)) == taken(name)


def test_a_class_that_is_declared_elsewhere_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._DECLARED, "LoraConfig", ("peft", ("peft/moved.py:LoraConfig",)))
    assert set(library_arguments.__wrapped__("LoraConfig")) == taken("LoraConfig")


def test_an_unknown_argument_is_named_with_the_nearest() -> None:
    require_arguments({"learning_rate": 1.0}, "DPOConfig", {})
    with pytest.raises(ValueError, match=r"`learning_rat` must be an argument of DPOConfig.*'learning_rate'"):
        require_arguments({"learning_rat": 1.0}, "DPOConfig", {})
    with pytest.raises(ValueError, match="`seed` must not be set here, but is 1: set it above"):
        require_arguments({"seed": 1}, "DPOConfig", {"seed": "set it above"})
