"""Validation during training: the network as it will be used, on each photo once, whatever the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.bundle import InputSpec
from pixelwise.data import Dataset, Sample
from pixelwise.engine import TorchEngine
from pixelwise.metrics import ConfusionMatrix, Scores, scores
from pixelwise.segmenter import Segmenter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Validation:
    """What came of the validation data.

    Attributes:
        scores: from the counts of all photos taken together, at their own size.
        loss: mean over the photos of the loss, at the size at which the network sees them; nan where all of them were
            cut into tiles.
        examples: a few photos from all over the data with the predicted masks; on the first process only.
    """

    scores: Scores
    loss: float
    examples: tuple[tuple[Sample, NDArray[np.uint8]], ...]


def validate(
    module: nn.Module,
    datasets: Sequence[Dataset],
    spec: InputSpec,
    *,
    fabric: Fabric,
    bf16: bool,
    loss: Callable[[Tensor, Tensor], Tensor],
    examples: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Validation:
    """Segment every photo of the datasets and count; each process takes its share of them, and no photo comes twice.

    Args:
        module: float (B, 3, H, W) -> logits; put in evaluation mode for the while.
        datasets: taken together; they have one class table.
        spec: how photos are shown to the network.
        fabric: the processes.
        bf16: whether to run the network under bf16 autocast.
        loss: (logits (1, C, h, w), target int64 (1, h, w)) -> scalar.
        examples: how many pictures to keep.
        advance: called after each photo with how many this process has seen, and will have seen at the end.
    """
    classes = datasets[0].classes
    engine = _KeepsLogits(module, precision="bf16" if bf16 else "fp32")
    segmenter = Segmenter(engine, classes, replace(spec, output_stride=1))  # the loss takes logits at full size
    matrix = ConfusionMatrix(len(classes), ignore_index=classes.ignore_index)
    losses: dict[int, float] = {}
    kept = []
    total = sum(len(dataset) for dataset in datasets)
    shown = {round(i * (total - 1) / max(1, examples - 1)) for i in range(examples)} if fabric.is_global_zero else set()
    for position, sample in _share(datasets, fabric.global_rank, fabric.world_size, also=shown):
        prediction, _ = segmenter.predict(sample.image)
        if position in shown:
            kept.append((sample, prediction))
        if position % fabric.world_size != fabric.global_rank:
            continue
        matrix.update(sample.mask, prediction, name=sample.id)
        seen = spec.size_seen(*sample.mask.shape)
        if max(seen) <= segmenter.tiling.size:
            losses[position] = _loss(engine.logits, sample.mask, seen, loss)
        advance(position // fabric.world_size + 1, math.ceil(total / fabric.world_size))
    parts = _gathered(fabric, (matrix, losses))
    whole = sum((part for part, _ in parts), ConfusionMatrix(len(classes), ignore_index=classes.ignore_index))
    # In the order of the photos, so that the sum is the same to the last bit for any number of processes.
    ordered = sorted((item for _, part in parts for item in part.items()))
    mean = sum(value for _, value in ordered) / len(ordered) if ordered else math.nan
    return Validation(scores(whole), mean, tuple(kept))


class _KeepsLogits(TorchEngine):
    """Keeps the last logits, (1, C, H, W), on their device, for the loss."""

    logits: Tensor

    def run(self, images: NDArray[np.float32]) -> Tensor:
        """See `TorchEngine`."""
        self.logits = super().run(images)
        return self.logits


def _share(datasets: Sequence[Dataset], rank: int, world_size: int, *, also: set[int]) -> Iterator[tuple[int, Sample]]:
    """Every `world_size`-th photo by its position over all datasets, and those at the positions `also`."""
    position = 0
    for dataset in datasets:
        for index in range(len(dataset)):
            if position % world_size == rank or position in also:
                yield position, dataset[index]
            position += 1


def _loss(
    logits: Tensor, mask: NDArray[np.uint8], seen: tuple[int, int], loss: Callable[[Tensor, Tensor], Tensor]
) -> float:
    target = torch.from_numpy(mask).to(logits.device)[None, None]
    target = F.interpolate(target, size=seen, mode="nearest-exact")[0].long()
    return float(loss(logits[..., : seen[0], : seen[1]], target))


def _gathered(fabric: Fabric, value: T) -> list[T]:
    """The values of all processes, in their order."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values
