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
        "segformer": "medseg.models.segformer:SegFormer",
        "setr": "medseg.models.setr:SETR",
        "segresnet": "medseg.models.segresnet:SegResNet",
        "swin_unetr": "medseg.models.swin_unetr:SwinUNETR",
        "unetr": "medseg.models.unetr:UNETR",
        "attention_unet": "medseg.models.attention_unet:AttentionUNet",
        "mednext": "medseg.models.mednext:MedNeXt",
        "neat": "medseg.models.neat:NEAT",
        "pointrend": "medseg.models.pointrend:PointRend",
        "smp": "medseg.models.smp:SMP",
        "hf_segformer": "medseg.models.hf_segformer:HFSegFormer",
        "unet": "medseg.models.unet:UNet",
        "uctransnet": "medseg.models.uctransnet:UCTransNet",
        "enet": "medseg.models.enet:ENet",
        "bisenetv2": "medseg.models.bisenetv2:BiSeNetV2",
        "stdc": "medseg.models.stdc:STDC",
        "fcn": "medseg.models.fcn:FCN",
        "fcn_resnet": "medseg.models.fcn_resnet:FCNResNet",
        "deeplab_v1": "medseg.models.deeplab_v1:DeepLabV1",
        "deeplab_v2": "medseg.models.deeplab_v2:DeepLabV2",
        "deeplab_v3": "medseg.models.deeplab_v3:DeepLabV3",
        "deeplab_v3plus": "medseg.models.deeplab_v3plus:DeepLabV3Plus",
        "pspnet": "medseg.models.pspnet:PSPNet",
        "psanet": "medseg.models.psanet:PSANet",
        "gcn": "medseg.models.gcn:GCN",
        "dense_aspp": "medseg.models.dense_aspp:DenseASPP",
        "sfnet": "medseg.models.sfnet:SFNet",
        "modular": "medseg.models.modular:Modular",
    }
)

__all__ = ["MODELS", "DynUNet", "Network"]
