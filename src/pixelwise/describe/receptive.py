"""Stride and receptive field of every feature map in a trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pixelwise.describe.trace import CONVOLUTION, GLOBAL_POOL, MAX_POOL, MEAN_POOL, RESIZE, TRANSPOSED, Operation


@dataclass(frozen=True, slots=True)
class View:
    """What a unit of a feature map sees of the photo, and how far apart neighbouring units are there.

    Attributes:
        stride: distance of neighbouring units, in pixels of the photo.
        field: side of the square that a unit sees through convolutions and windowed pooling, in pixels.
        whole: a mean over the whole map is among what it is computed from: it sees all of the photo.
        upsampled: the map is, or is computed from, an upsampled one.
    """

    stride: Fraction
    field: Fraction
    whole: bool = False
    upsampled: bool = False


def views(operations: Sequence[Operation]) -> list[View]:
    """What the units of each operation's result see.

    The recurrence is the usual one: a window of k pixels with dilation d on a map of stride j that sees r pixels sees
    r + (k - 1) d j; its result has stride j times its own. Where several maps go in, the widest field counts, and the
    finest stride: attention asks with the units of a map and may answer from a coarser one.
    """
    seen = [View(Fraction(1), Fraction(1))]
    for operation in operations[1:]:
        features = [index for index in operation.inputs if not operations[index].indices] or list(operation.inputs)
        sources = [seen[index] for index in features]
        widest = View(
            min(view.stride for view in sources),
            max(view.field for view in sources),
            any(view.whole for view in sources),
            any(view.upsampled for view in sources),
        )
        seen.append(_through(operation, operations[features[0]].shape, widest))
    return seen


def _through(operation: Operation, source: tuple[int, ...], view: View) -> View:
    kernel, stride, dilation = operation.kernel, operation.stride, operation.dilation
    if operation.kind in (CONVOLUTION, MAX_POOL, MEAN_POOL):
        field = view.field + (kernel - 1) * dilation * view.stride
        return View(view.stride * stride, field, view.whole, view.upsampled)
    if operation.kind == TRANSPOSED:
        meet = math.ceil(kernel / stride)  # as many units of its input meet in one of its result
        return View(view.stride / stride, view.field + (meet - 1) * view.stride, view.whole, stride > 1)
    if operation.kind == GLOBAL_POOL:
        return View(view.stride, view.field, whole=True, upsampled=view.upsampled)
    if operation.kind == RESIZE and source[-1] > 1:
        factor = Fraction(operation.shape[-1], source[-1])
        return View(view.stride / factor, view.field + view.stride, view.whole, view.upsampled or factor > 1)
    if operation.name in ("pixel_shuffle", "max_unpool2d"):
        factor = Fraction(operation.shape[-1], source[-1])
        return View(view.stride / factor, view.field, view.whole, upsampled=True)
    return view
