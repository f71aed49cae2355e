"""The networks of `performance.py`: as torch modules, and as bundles for ONNX Runtime and OpenVINO.

Weights are random but for the default model's, as the time of a network of these kinds does not depend on them. Those
of a network and of its bundles are the same. A network that pixelwise exports as far as its last interpolation has two:
that one, and the whole network, as anybody else would export it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pixelwise.bundle import Bundle, BundleConfig, InputSpec, read_bundle, write_bundle
from pixelwise.catalogue import find_model
from pixelwise.labels import VOC

if TYPE_CHECKING:
    from torch import nn

SIZE = 512
CLASSES = len(VOC)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = ("fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large")
SMP = {"smp-unet-resnet34": "resnet34", "smp-unet-lite0": "tu-tf_efficientnet_lite0"}
UNET_RESNET34, DEFAULT = "unet-resnet34", "default"
WITH_SCORES = (*TORCHVISION, UNET_RESNET34, DEFAULT)
"""Those that pixelwise exports as far as their last interpolation."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network to be measured.

    Attributes:
        name: on the command line.
        title: in the tables.
    """

    name: str
    title: str


NETWORKS = (
    Network("fcn_resnet50", "FCN-ResNet50"),
    Network("deeplabv3_resnet50", "DeepLabV3-ResNet50"),
    Network("deeplabv3_mobilenet_v3_large", "DeepLabV3-MobileNetV3"),
    Network("unet2015", "U-Net (paper)"),
    Network("smp-unet-resnet34", "U-Net ResNet34"),
    Network(UNET_RESNET34, "our unet, ResNet34"),
    Network("smp-unet-lite0", "U-Net EfficientNet-Lite0"),
    Network("segnet", "SegNet"),
    Network(DEFAULT, "default model"),
)


def build_module(name: str) -> nn.Module:
    """The network as a torch script would have it: float32 (B, 3, H, W) -> logits (B, 21, H, W)."""
    import torch

    torch.manual_seed(0)
    if name in TORCHVISION:
        return _torchvision(name).eval()
    if name in SMP:
        import segmentation_models_pytorch as smp

        return smp.Unet(encoder_name=SMP[name], encoder_weights=None, classes=CLASSES).eval()  # type: ignore[no-any-return]
    from pixelwise.models import build

    if name == UNET_RESNET34:
        return build("unet", num_classes=CLASSES, arguments_given={"encoder": "resnet34"}).eval()
    if name != DEFAULT:
        return build(name, num_classes=CLASSES).eval()
    bundle = find_model(name)
    config = bundle.config
    return build(
        config.architecture, num_classes=CLASSES, arguments_given=config.arguments, weights=bundle.weights
    ).eval()


def _torchvision(name: str) -> nn.Module:
    from torch import Tensor, nn
    from torchvision.models import segmentation

    class Logits(nn.Module):
        """Without the dictionary around them."""

        def __init__(self) -> None:
            super().__init__()
            make: Callable[..., nn.Module] = getattr(segmentation, name)
            self.network = make(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x)["out"]
            return logits

    return Logits()


def prepare(name: str, folder: Path, *, whole: bool = False) -> Bundle:
    """The network as a bundle, made where it is not there yet: as pixelwise exports it, or whole."""
    whole = whole and name in WITH_SCORES
    if name == DEFAULT and not whole:
        return find_model(name)
    path = folder / (f"{name}-whole" if whole else name)
    if path.is_dir():
        return read_bundle(path)
    print(f"exporting {path.name}", file=sys.stderr)
    from pixelwise.export import export_module, input_sizes

    module = _exportable(name, whole=whole)
    graph, weights = export_module(module)
    _, stride = input_sizes(module)
    spec = InputSpec(mean=MEAN, std=STD, long_side=SIZE, size_multiple=32, output_stride=stride)
    return write_bundle(path, BundleConfig(path.name, name, {}, VOC, spec), graph=graph, weights=weights)


def _exportable(name: str, *, whole: bool) -> nn.Module:
    """The same network, with `scores` or without.

    TensorFlow's padding, which goes by the size of the photo, is written out for even sizes: with free sizes the
    exporter would not come to an end.
    """
    from torch import nn

    from pixelwise.models import build

    module = build_module(name)
    if name in TORCHVISION and not whole:
        ours = build(name, num_classes=CLASSES, arguments_given={"auxiliary": False})
        ours.load_state_dict(module.get_submodule("network").state_dict())
        return ours
    if whole and name in WITH_SCORES:
        return nn.Sequential(module)  # which has no `scores`
    if SMP.get(name, "").startswith("tu-tf_"):
        from pixelwise.models.encoders import create_encoder

        encoder = create_encoder(SMP[name].removeprefix("tu-"))
        own = module.get_submodule("encoder")
        encoder.load_state_dict(own.get_submodule("model").state_dict())
        own.add_module("model", encoder.eval())
    return module


def prepare_int8(name: str, folder: Path, photos: Sequence[Path], *, whole: bool = False) -> Bundle:
    """The same in 8-bit integers: ranges from a few photos, no accuracy control, as random weights have none."""
    bundle = prepare(name, folder, whole=whole)
    path = folder / f"{bundle.path.name}-int8"
    if path.is_dir():
        return read_bundle(path)
    print(f"quantizing {bundle.path.name}", file=sys.stderr)
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    import openvino

    from pixelwise.api import load
    from pixelwise.engine import openvino_core
    from pixelwise.images import read_image
    from pixelwise.quantization import quantize_without_control

    shown = load(bundle.path, engine="openvino", precision="fp32", size=SIZE)
    inputs = [shown.network_input(read_image(photo).pixels) for photo in photos]
    model = quantize_without_control(openvino_core().read_model(str(bundle.graph)), inputs)
    with TemporaryDirectory() as temporary:
        graph = Path(temporary) / "model.xml"
        openvino.save_model(model, str(graph), compress_to_fp16=False)
        config = replace(bundle.config, name=path.name, metrics={}, form="openvino", precision="int8")
        return write_bundle(path, config, graph=graph.read_bytes(), weights=graph.with_suffix(".bin").read_bytes())
