"""A network in figures: its stages, what goes from one to another, what it costs; all of it counted, none written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from pixelwise.describe.receptive import View, views
from pixelwise.describe.stages import Edge, Stage, stages_of
from pixelwise.describe.trace import trace
from pixelwise.errors import PixelwiseError
from pixelwise.models import Architecture, architecture, arguments, build

LARGEST_SIZE = 65536

CONVENTION = (
    "Multiply-adds are those of convolutions, transposed convolutions and matrix products, for one photo in evaluation "
    "mode: no auxiliary head, no element-wise operation, normalisation or interpolation. Parameters count every weight "
    "and bias, those of the auxiliary head included. The output stride is that of the coarsest feature map."
)


@dataclass(frozen=True, slots=True)
class Description:
    """An architecture as it was built and traced.

    Attributes:
        entry: the registry's.
        arguments: all that it was built with, defaults included, without `num_classes`.
        num_classes: number of classes, the background included.
        size: height and width of the photo in pixels.
        stages: in the order in which they run; the first is the photo, the last the answer.
        edges: what goes from one stage to another.
        parameters: all weights and biases; of which `training_only` in heads that run in training only.
        training_only: see above.
        multiply_adds: for one photo of this size; see `CONVENTION`.
        activation_bytes: the sum over the stages.
        output_stride: of the coarsest feature map, in pixels of the photo.
        receptive_field: side of the square of pixels that a unit of the coarsest map sees through convolutions and
            windowed pooling, before anything is upsampled.
        whole_photo: such a unit sees all of the photo as well, through a mean over the whole map.
    """

    entry: Architecture
    arguments: Mapping[str, Any]
    num_classes: int
    size: tuple[int, int]
    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]
    parameters: int
    training_only: int
    multiply_adds: int
    activation_bytes: int
    output_stride: int
    receptive_field: int
    whole_photo: bool

    @property
    def encoder(self) -> str:
        """The classification network inside, by its name where it is an argument."""
        return str(self.arguments.get("encoder", self.entry.encoder))


def describe(
    name: str,
    *,
    num_classes: int = 21,
    size: tuple[int, int] = (512, 512),
    arguments_given: Mapping[str, Any] | None = None,
) -> Description:
    """Build an architecture without memory for its weights, run it on the shape of a photo, and count.

    Args:
        name: as registered.
        num_classes: number of classes, the background included.
        size: height and width of the photo in pixels; costs the same whatever they are.
        arguments_given: what departs from the architecture's defaults.

    Raises:
        PixelwiseError: as for `pixelwise.models.build`; or the size is none.
    """
    if not all(1 <= side <= LARGEST_SIZE for side in size):
        raise PixelwiseError(f"The size is {size[0]} x {size[1]}; expected 1 to {LARGEST_SIZE} pixels a side.")
    entry = architecture(name)
    with torch.device("meta"):
        network = build(name, num_classes=num_classes, arguments_given=arguments_given).eval()
    traced = trace(network, size=size)
    seen = views(traced.operations)
    stages, edges = stages_of(traced, seen, num_classes=num_classes)
    parameters = _count(network)
    coarsest = _coarsest(seen)
    return Description(
        entry=entry,
        arguments=arguments(name, arguments_given),
        num_classes=num_classes,
        size=size,
        stages=stages,
        edges=edges,
        parameters=parameters,
        training_only=parameters - sum(stage.parameters for stage in stages),
        multiply_adds=sum(operation.multiply_adds for operation in traced.operations),
        activation_bytes=sum(stage.activation_bytes for stage in stages),
        output_stride=int(coarsest.stride),
        receptive_field=int(coarsest.field),
        whole_photo=coarsest.whole,
    )


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _coarsest(seen: list[View]) -> View:
    """Of the maps of the coarsest stride the one that sees most; if there are any, that nothing upsampled goes into."""
    stride: Fraction = max(view.stride for view in seen)
    coarsest = [view for view in seen if view.stride == stride]
    return max(
        [view for view in coarsest if not view.upsampled] or coarsest,
        key=lambda view: (view.whole, view.field),
    )
