"""Floor 2: networks by name. Each is a frozen dataclass that builds a torch module."""

from medseg.models.dynunet import DynUNet
from medseg.models.network import Network

MODELS: dict[str, type[Network]] = {
    "dynunet": DynUNet,
}

__all__ = ["MODELS", "DynUNet", "Network"]
