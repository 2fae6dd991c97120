"""What a network's backward pass leaves untaught."""

from __future__ import annotations

from torch import nn

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NOTHING = (nn.Identity, nn.modules.dropout._DropoutNd)


def untaught(module: nn.Module) -> list[str]:
    """The parameters without a gradient, but for biases that a normalisation takes out again."""
    dead = [key for key, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    return [key for key in dead if not (key.endswith("bias") and normed_away(module, key))]


def normed_away(module: nn.Module, key: str) -> bool:
    """Whether a normalisation follows; convolutions of one tap before it keep a shift a shift."""
    for layer in _behind(module, key.rpartition(".")[0]):
        if isinstance(layer, NORMS):
            return True
        one_tap = isinstance(layer, CONVOLUTIONS) and set(layer.kernel_size) == {1}
        if not (one_tap or isinstance(layer, NOTHING)):
            return False
    return False


def _behind(module: nn.Module, name: str) -> list[nn.Module]:
    """The layers registered behind one: beside it, or beside its parent where it is the last."""
    for _ in range(2):
        name, _, own = name.rpartition(".")
        beside = dict(module.get_submodule(name).named_children())
        later = list(beside.values())[list(beside).index(own) + 1 :] if own else []
        if later:
            return [layer for one in later for layer in one.modules() if not [*layer.children()]]
    return []
