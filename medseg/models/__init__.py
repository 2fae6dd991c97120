"""Floor 2: networks by name. Each is a frozen dataclass that builds a torch module.

The options of a network stand in ``medseg/models/NAME.py`` and need no torch; what it builds
is in ``nets/``, out of the parts in ``encoders/`` and ``modules/``.
"""

from medseg.models.dynunet import DynUNet
from medseg.models.network import Network
from medseg.step import Places

MODELS = Places(
    {
        "attention_unet": "medseg.models.attention_unet:AttentionUNet",
        "bisenetv2": "medseg.models.bisenetv2:BiSeNetV2",
        "deeplab_v1": "medseg.models.deeplab_v1:DeepLabV1",
        "deeplab_v2": "medseg.models.deeplab_v2:DeepLabV2",
        "deeplab_v3": "medseg.models.deeplab_v3:DeepLabV3",
        "deeplab_v3plus": "medseg.models.deeplab_v3plus:DeepLabV3Plus",
        "dense_aspp": "medseg.models.dense_aspp:DenseASPP",
        "dynunet": "medseg.models.dynunet:DynUNet",
        "enet": "medseg.models.enet:ENet",
        "fcn": "medseg.models.fcn:FCN",
        "fcn_resnet": "medseg.models.fcn_resnet:FCNResNet",
        "gcn": "medseg.models.gcn:GCN",
        "hf_segformer": "medseg.models.hf_segformer:HFSegFormer",
        "mednext": "medseg.models.mednext:MedNeXt",
        "modular": "medseg.models.modular:Modular",
        "monai": "medseg.models.monai_network:Monai",
        "neat": "medseg.models.neat:NEAT",
        "pointrend": "medseg.models.pointrend:PointRend",
        "psanet": "medseg.models.psanet:PSANet",
        "pspnet": "medseg.models.pspnet:PSPNet",
        "segformer": "medseg.models.segformer:SegFormer",
        "segresnet": "medseg.models.segresnet:SegResNet",
        "setr": "medseg.models.setr:SETR",
        "sfnet": "medseg.models.sfnet:SFNet",
        "smp": "medseg.models.smp:SMP",
        "stdc": "medseg.models.stdc:STDC",
        "swin_unetr": "medseg.models.swin_unetr:SwinUNETR",
        "uctransnet": "medseg.models.uctransnet:UCTransNet",
        "unet": "medseg.models.unet:UNet",
        "unetr": "medseg.models.unetr:UNETR",
    }
)

__all__ = ["MODELS", "DynUNet", "Network"]
