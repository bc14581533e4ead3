"""Removal of the changes that TRL's trainers make to a model.

TRL internals we rely on, for the TRL versions that pyproject.toml admits, checked by tests in tests/trainers:

1. Given a PeftModel and no reference, a constructor copies the adapter `default` into one named `ref`. At each step
   the loss uses the adapter `ref` if there is one, and the bare base model if not.
2. A constructor may replace `forward` on the instances of the base model and of a reference that is a separate model.
   In mixed precision accelerate replaces it on every model it receives, and keeps the old one as `_original_forward`.
3. With gradient checkpointing, the constructor and the training loop each add a hook to the input embeddings, and
   `disable_input_require_grads` removes only the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel

from duelist.models.policy.policy import Policy

PATCHED = ("forward", "_original_forward")


@contextmanager
def leaving_no_trace(policy: Policy, reference: Path | None, gradient_checkpointing: bool) -> Iterator[None]:
    """Allow a TRL trainer on the policy's model within the block; afterwards only the trained weights remain.

    Create the trainer inside the block, with `policy.weights.reference_model` if it takes a reference model, then set
    the policy's reference again before training.

    Args:
        policy: the policy to train; only its trainable weights change.
        reference: the folder of the reference's weights; None for the base model.
        gradient_checkpointing: whether the trainer uses it.
    """
    model = policy.model
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    # The constructor creates an adapter of the reference's name itself; it uses a reference model unchanged.
    policy.set_reference(reference if policy.weights.reference_model is not None else None)
    touched = [m for m in (model, base, policy.weights.reference_model) if m is not None]
    own_state = [{name: vars(m)[name] for name in PATCHED if name in vars(m)} for m in touched]
    embeddings = model.get_input_embeddings()  # only these: a mixture of experts captures its routing by hooks
    own_hooks = set(embeddings._forward_hooks)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        yield
    finally:
        policy.set_reference(reference)
        for module, own in zip(touched, own_state, strict=True):
            for name in PATCHED:
                vars(module).pop(name, None)
            vars(module).update(own)
        if gradient_checkpointing:
            model.gradient_checkpointing_disable()
            if isinstance(model, PeftModel):
                model.disable_input_require_grads()
        for hook in set(embeddings._forward_hooks) - own_hooks:
            del embeddings._forward_hooks[hook]
        for name, p in model.named_parameters():
            p.grad = None
            if name in flags:
                p.requires_grad_(flags[name])
        model.eval()
