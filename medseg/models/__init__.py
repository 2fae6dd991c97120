"""Floor 2: networks by name. Each is a frozen dataclass that builds a torch module.

The options of a network stand in ``medseg/models/NAME.py`` and need no torch; what it builds
is in ``nets/``, out of the parts in ``encoders/`` and ``modules/``.
"""

from medseg.models.dynunet import DynUNet
from medseg.models.network import Network
from medseg.step import Places

MODELS = Places(
    {
        "dynunet": "medseg.models.dynunet:DynUNet",
    }
)

__all__ = ["MODELS", "DynUNet", "Network"]
