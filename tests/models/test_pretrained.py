"""Networks of other packages: stand-ins for these, and what is said where they are not there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import ModelError
from medseg.models import MODELS
from medseg.models.hf_segformer import HFSegFormer
from medseg.models.smp import SMP

PACKAGES = {"smp": "segmentation_models_pytorch", "hf_segformer": "transformers"}
Put = Callable[..., None]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put a module with these attributes in a package's place; None takes the package away."""

    def place(package: str, **attributes: Any) -> None:
        module = ModuleType(package) if attributes else None
        for name, value in attributes.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, package, module)

    return place


@pytest.mark.parametrize("name", PACKAGES)
def test_without_its_package_a_network_names_the_extra_to_install(name: str, put: Put) -> None:
    put(PACKAGES[name])
    with pytest.raises(ModelError, match="E_CONFIG") as error:
        MODELS[name](spatial_dims=2)(1, 2)
    assert 'pip install "medseg[pretrained]"' in str(error.value)
    assert PACKAGES[name] in str(error.value)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_whose_import_fails_is_told_by_its_first_cause(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a torchvision for another torch: the operator that is not there is named."""

    class Broken(ModuleType):
        def __getattr__(self, attribute: str) -> Any:
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            try:
                raise RuntimeError("operator torchvision::nms does not exist")
            except RuntimeError as error:
                raise ModuleNotFoundError("could not import a part") from error

    monkeypatch.setitem(sys.modules, PACKAGES[name], Broken(PACKAGES[name]))
    with pytest.raises(ModelError, match="torchvision::nms does not exist") as error:
        MODELS[name](spatial_dims=2)(1, 2)
    assert 'pip install "medseg[pretrained]"' in str(error.value)


def test_options_alone_import_nothing(put: Put) -> None:
    for package in PACKAGES.values():
        put(package)
    assert SMP(pretrained="imagenet").without_download() == SMP()
    assert HFSegFormer(size="b2", pretrained="some/name").without_download().size == "b2"


@pytest.mark.parametrize("name", PACKAGES)
def test_they_are_for_slices_only(name: str) -> None:
    assert MODELS[name].dims == (2,)
    with pytest.raises(ValueError, match="spatial_dims is 2"):
        MODELS[name](spatial_dims=3)


class Halving(nn.Module):
    """A stand-in's network: wants sides of 32."""

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, labels, 1)

    def forward(self, image: Tensor) -> Tensor:
        assert all(side % 32 == 0 for side in image.shape[2:])
        logits: Tensor = self.conv(image)
        return logits


def test_smp_is_asked_for_what_the_options_say_and_fitted_to_any_size(put: Put) -> None:
    asked: list[Any] = []

    def create_model(architecture: str, **options: Any) -> nn.Module:
        asked.append((architecture, options))
        return Halving(options["in_channels"], options["classes"])

    put("segmentation_models_pytorch", create_model=create_model)
    module = SMP(architecture="fpn", encoder="mit_b0")(4, 3)
    assert asked == [
        (
            "fpn",
            {"encoder_name": "mit_b0", "encoder_weights": None, "in_channels": 4, "classes": 3},
        )
    ]
    assert module(torch.randn(2, 4, 33, 7)).shape == (2, 3, 33, 7)
    SMP(pretrained="imagenet")(3, 2)
    assert asked[1][1]["encoder_weights"] == "imagenet"


def test_an_encoder_that_smp_has_not_is_told(put: Put) -> None:
    def create_model(*_: Any, **__: Any) -> nn.Module:
        raise KeyError("Wrong encoder name")

    put("segmentation_models_pytorch", create_model=create_model)
    with pytest.raises(ModelError, match=r"E_CONFIG.*'nonsense'.*Wrong encoder name"):
        SMP(encoder="nonsense")(1, 2)


class Segformer(nn.Module):
    """A stand-in for transformers' network; ``told`` is what loading it tells."""

    told: ClassVar[dict[str, Any]] = {}
    loaded: ClassVar[list[str]] = []

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(config.num_channels, config.num_labels, 7, stride=4, padding=3)

    @classmethod
    def from_pretrained(cls, place: str, *, config: Any, **_: Any) -> tuple[Segformer, Any]:
        if place == "nowhere":
            raise OSError("is neither a folder nor a name")
        cls.loaded.append(place)
        nothing: dict[str, Any] = dict.fromkeys(
            ("missing_keys", "mismatched_keys", "unexpected_keys"), ()
        )
        return cls(config), {**nothing, **cls.told}

    def forward(self, image: Tensor) -> Any:
        return SimpleNamespace(logits=self.first(image))


@pytest.fixture
def transformers(put: Put) -> Iterator[type[Segformer]]:
    put(
        "transformers",
        SegformerConfig=SimpleNamespace,
        SegformerForSemanticSegmentation=Segformer,
    )
    Segformer.told, Segformer.loaded = {}, []
    yield Segformer
    Segformer.told, Segformer.loaded = {}, []


def test_segformer_is_built_fresh_unless_weights_are_asked_for(
    transformers: type[Segformer],
) -> None:
    module: Any = HFSegFormer(size="b2")(1, 3)
    assert transformers.loaded == []
    assert module.network.config.hidden_sizes == [64, 128, 320, 512]
    assert module.network.config.depths == [3, 4, 6, 3]
    assert module.network.config.decoder_hidden_size == 768
    assert module(torch.randn(2, 1, 33, 50)).shape == (2, 3, 33, 50)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_for_colours_are_shared_out_among_the_channels(
    transformers: type[Segformer], channels: int
) -> None:
    """The same slice in every channel is seen as a grey picture was."""
    torch.manual_seed(0)
    module: Any = HFSegFormer(pretrained="some/name")(channels, 2)
    assert transformers.loaded == ["some/name"]
    first, grey = module.network.first, torch.randn(1, 1, 16, 16)
    assert first.weight.shape[1] == channels
    torch.manual_seed(0)
    colours: Any = HFSegFormer(pretrained="some/name")(3, 2)
    wanted = colours.network.first(grey.expand(-1, 3, -1, -1))
    assert torch.allclose(first(grey.expand(-1, channels, -1, -1)), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "told",
    [
        {"missing_keys": {"segformer.stages.0.blocks.2.x"}},
        {"unexpected_keys": {"segformer.stages.0.blocks.2.x"}},
        {"mismatched_keys": {("segformer.stages.0.x", (32,), (64,))}},
        {"mismatched_keys": {("decode_head.batch_norm.bias", (256,), (768,))}},
    ],
)
def test_weights_of_another_size_are_refused(
    transformers: type[Segformer], told: dict[str, Any]
) -> None:
    transformers.told = told
    with pytest.raises(ModelError, match=r"E_CHECKPOINT.*is no SegFormer b0"):
        HFSegFormer(pretrained="some/name")(1, 2)


def test_a_fresh_head_for_other_labels_is_no_mistake(transformers: type[Segformer]) -> None:
    transformers.told = {
        "missing_keys": {"decode_head.linear_fuse.weight"},
        "mismatched_keys": {("decode_head.classifier.weight", (150, 256, 1, 1), (2, 256, 1, 1))},
        "unexpected_keys": {"classifier.weight"},
    }
    assert HFSegFormer(pretrained="some/name")(1, 2)


def test_weights_that_are_nowhere_are_told(transformers: type[Segformer]) -> None:
    with pytest.raises(ModelError, match=r"E_CHECKPOINT.*'nowhere' cannot be read"):
        HFSegFormer(pretrained="nowhere")(1, 2)
