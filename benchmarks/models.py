"""Forward and training step of every architecture, against the same network of torchvision, or its like in smp.

One photo forward, without gradients, and one training step (batch of two, cross-entropy, the auxiliary head's too,
backward, SGD), in float32 on the processor. A network and its peer alternate, A B A B, so their ratio is that of one
run. torchvision's networks get the same weights, and have to give the same numbers first: for them the target holds.
segmentation_models.pytorch (smp) has networks of the same names that compute other things; they are shown for scale.

Then SegNet's memory: what the decoder needs from the encoder, as positions of the maxima and as the feature maps, in
bytes, and the peak of two processes that do either.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _common import Report, Task, medians, parser, skip, table, verdict, versions
from _common import run as run_process

if TYPE_CHECKING:
    from torch import Tensor, nn

SLOWER = 1.05
CLASSES = 21
TORCHVISION = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
)
SMP = {
    "unet": ("Unet", "tu-tf_efficientnet_lite0"),
    "unet2015": ("Unet", "vgg13"),
    "segnet": ("Unet", "vgg16_bn"),
    "deeplabv3_resnet50": ("DeepLabV3", "resnet50"),
    "deeplabv3_resnet101": ("DeepLabV3", "resnet101"),
}

# What a SegNet would hold that handed its feature maps to the decoder; the work is the same.
_SEGNET_PROCESS = """
import sys, torch
from pixelwise.models import build
from pixelwise.models.segnet import max_pool_with_positions, max_unpool
keep, height, width = sys.argv[1] == "features", int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
model = build("segnet", num_classes=12).eval()
with torch.inference_mode():
    x, kept = torch.randn(1, 3, height, width), []
    for stage in model.encoder.values():
        features = stage(x)
        x, positions = max_pool_with_positions(features)
        kept.append((positions, features if keep else None))
        del features
    for stage in model.decoder.values():
        positions, features = kept.pop()
        x = stage(max_unpool(x, positions))
open(sys.argv[4] + "/done", "w").close()
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians in ms of a network and its peer in the same run; the peer's are None where there is none."""

    name: str
    peer: str
    what: str
    ours: float
    theirs: float | None

    @property
    def ratio(self) -> float | None:
        """Our time over the peer's."""
        return None if self.theirs is None else self.ours / self.theirs


def main() -> None:
    options = _options()
    if importlib.util.find_spec("torch") is None:
        skip(f"{sys.executable} has no torch.")
    report = Report(options, versions("pixelwise", "torch", "torchvision", "timm", "segmentation-models-pytorch"))
    comparisons = [found for name in options.names or _names() for found in _compare(name, options)]
    _print(report, comparisons)
    if not options.names or "segnet" in options.names:
        _segnet_memory(report, options.repetitions)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("names", nargs="*", help="architectures (default: all)")
    made.add_argument("--size", type=int, default=320, help="side of the photos in pixels (default 320)")
    made.add_argument("--repetitions", type=int, default=7, help="measured rounds (default 7)")
    return made.parse_args()


def _names() -> list[str]:
    from pixelwise.models import names

    return names()


def _compare(name: str, options: argparse.Namespace) -> list[Comparison]:
    import torch

    from pixelwise.models import build

    print(name, file=sys.stderr)
    torch.manual_seed(0)
    ours = build(name, num_classes=CLASSES)
    peers = _peers(name)
    if name in TORCHVISION:
        theirs = peers[f"torchvision {name}"]
        theirs.load_state_dict(ours.state_dict())
        _check_equal(ours.eval(), theirs.eval(), torch.randn(1, 3, options.size, options.size))
    found = []
    for what, task in (("forward", _forward), ("training step", _training_step)):
        times = _alternate([task(network, options.size) for network in (ours, *peers.values())], options.repetitions)
        rivals = zip(peers, times[1:], strict=True) if peers else [("", None)]
        found += [Comparison(name, peer, what, times[0], theirs) for peer, theirs in rivals]
    return found


def _peers(name: str) -> dict[str, nn.Module]:
    """The networks to compare with, under what to call them."""
    peers: dict[str, nn.Module] = {}
    if name in TORCHVISION:
        from torchvision.models import segmentation

        make = getattr(segmentation, name)
        peers[f"torchvision {name}"] = make(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    if name in SMP and importlib.util.find_spec("segmentation_models_pytorch") is not None:
        import segmentation_models_pytorch as smp

        kind, encoder = SMP[name]
        peers[f"smp {kind}, {encoder}"] = getattr(smp, kind)(
            encoder_name=encoder, encoder_weights=None, classes=CLASSES
        )
    return peers


def _check_equal(ours: nn.Module, theirs: nn.Module, photo: Tensor) -> None:
    import torch

    with torch.inference_mode():
        answer, expected = ours(photo), theirs(photo)["out"]
    difference = float((answer - expected).abs().max() / expected.abs().max())
    if difference > 1e-4:
        sys.exit(f"The answers differ from torchvision's by up to {difference:.2%}: not the same network.")


def _forward(network: nn.Module, size: int) -> Callable[[], None]:
    import torch

    photo = torch.randn(1, 3, size, size)

    def once() -> None:
        network.eval()
        with torch.inference_mode():
            network(photo)

    return once


def _training_step(network: nn.Module, size: int) -> Callable[[], None]:
    import torch
    from torch.nn.functional import cross_entropy

    photos = torch.randn(2, 3, size, size)
    target = torch.randint(0, CLASSES, (2, size, size))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def once() -> None:
        network.train()
        answer: Any = network(photos)
        answers = list(answer.values()) if isinstance(answer, dict) else answer
        answers = answers if isinstance(answers, list | tuple) else [answers]
        loss = sum(weight * cross_entropy(logits, target) for weight, logits in zip((1, 0.4), answers, strict=False))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    return once


def _alternate(tasks: list[Callable[[], None]], repetitions: int) -> list[float]:
    """Medians in ms, after one unmeasured run of each."""
    times: list[list[float]] = [[] for _ in tasks]
    for repetition in range(repetitions + 1):
        for task, measured in zip(tasks, times, strict=True):
            start = time.perf_counter()
            task()
            if repetition:
                measured.append((time.perf_counter() - start) * 1e3)
    return [median(measured) for measured in times]


def _print(report: Report, comparisons: list[Comparison]) -> None:
    report.figures = {"times": [asdict(found) | {"ratio": found.ratio} for found in comparisons]}
    rows = [
        [
            found.name,
            found.what,
            f"{found.ours:.0f} ms",
            found.peer or "none",
            "" if found.theirs is None else f"{found.theirs:.0f} ms",
            "" if found.ratio is None else f"{found.ratio:.2f}",
        ]
        for found in comparisons
    ]
    report.show(table(["architecture", "what", "ours", "peer", "theirs", "ours / theirs"], rows))
    for found in comparisons:
        if found.ratio is not None and found.peer.startswith("torchvision"):
            target = f"{found.name}, {found.what}, at most {SLOWER} times torchvision's"
            report.show(verdict(target, found.ratio <= SLOWER, f"{found.ratio:.2f}"))


def _segnet_command(kind: str, size: tuple[int, int], out: Path) -> list[str | Path]:
    return [sys.executable, "-c", _SEGNET_PROCESS, kind, *map(str, size), out]


def _segnet_memory(report: Report, repetitions: int, height: int = 360, width: int = 480) -> None:
    """At the size of the paper's table 6."""
    import torch

    from pixelwise.models import build
    from pixelwise.models.segnet import max_pool_with_positions

    sizes = dict.fromkeys(("feature maps, float32", "torch's indices, int64", "positions, bool"), 0)
    padded = (height + -height % 32, width + -width % 32)
    with torch.inference_mode():
        x = torch.zeros(1, 3, *padded)
        for stage in build("segnet", num_classes=12).eval().get_submodule("encoder").children():
            features = stage(x)
            x, positions = max_pool_with_positions(features)
            for kind, values, width_of_one in zip(sizes, (features, x, positions), (4, 8, 1), strict=True):
                sizes[kind] += values.numel() * width_of_one
    tasks = {kind: Task(partial(_segnet_command, kind, padded), files=1) for kind in ("positions", "features")}
    peaks = {
        kind: medians([run_process(task) for _ in range(min(3, repetitions))]).peak for kind, task in tasks.items()
    }
    report.figures["segnet"] = {"bytes": sizes, "peak MB": peaks}
    whole = sizes["feature maps, float32"]
    rows = [[kind, f"{size / 1e6:.1f} MB", f"{whole / size:.0f}"] for kind, size in sizes.items()]
    rows.append(["two bits a window, as the paper counts", f"{whole / 64 / 1e6:.1f} MB", "64"])
    report.show(
        f"SegNet, what the decoder needs of the encoder, one photo of {height} x {width}:",
        table(["kept as", "memory", "times less than feature maps"], rows),
        f"Peak of the whole process: {peaks['positions']:.0f} MB with positions, {peaks['features']:.0f} MB with the "
        "feature maps kept as well.",
    )


if __name__ == "__main__":
    main()
