"""What TRL's trainers leave behind on a model, and how it is taken off again.

Relied on, for the TRL versions that pyproject.toml admits, and held by tests in tests/trainers:

1. Given a PeftModel and no reference, a constructor copies the adapter `default` into one named `ref`, and the loss
   uses the adapter `ref` if there is one and the bare base model if not, looking anew at each step.
2. A constructor may replace `forward` on the instance of the base model.
3. With gradient checkpointing, the constructor and the training loop each add a hook to the input embeddings, and
   `disable_input_require_grads` takes off the last one only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from duelist.models.policy import Policy
from duelist.progress import Advance


class StepProgress(TrainerCallback):  # type: ignore[misc]
    """Passes each optimizer step on to a progress display."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Called by transformers' Trainer after each optimizer step."""
        self._advance(1)


@contextmanager
def leaving_no_trace(policy: Policy, reference: Path | None, gradient_checkpointing: bool) -> Iterator[None]:
    """Within the block a TRL trainer may be made on the policy's model; what stays is the trained weights alone.

    Make the trainer inside, then call `use_reference` before training.

    Args:
        policy: its adapter `default` is trained.
        reference: the folder of the reference adapter; None for the bare base model.
        gradient_checkpointing: whether the trainer uses it.
    """
    model = policy.model
    base = model.get_base_model()
    own_forward = vars(base).get("forward")
    own_hooks = {module: set(module._forward_hooks) for module in model.modules()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    policy.drop_reference()  # the constructor makes its own
    try:
        yield
    finally:
        policy.set_reference(reference)
        if own_forward is None:
            vars(base).pop("forward", None)
        else:
            base.forward = own_forward
        if gradient_checkpointing:
            model.gradient_checkpointing_disable()
            model.disable_input_require_grads()
        for module, hooks in own_hooks.items():
            for hook in set(module._forward_hooks) - hooks:
                del module._forward_hooks[hook]
        for name, p in model.named_parameters():
            p.grad = None
            if name in flags:
                p.requires_grad_(flags[name])
        model.eval()


def use_reference(trainer: Any, policy: Policy, reference: Path | None) -> None:
    """Let a fresh trainer print nothing, and use this reference, not the copy of `default` that it took."""
    trainer.remove_callback(PrinterCallback)  # it prints to standard output, which belongs to the caller
    policy.set_reference(reference)
