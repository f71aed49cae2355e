"""What a training run works on, from fresh or from a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricModule
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from pixelwise.acceleration import channels_last, run_depthwise_in_float32
from pixelwise.catalogue import find_model
from pixelwise.checkpoint import latest_checkpoint, save_checkpoint
from pixelwise.data import Dataset
from pixelwise.data.loader import loader_of_run, mix, sampling_factors
from pixelwise.errors import RecipeError
from pixelwise.labels import ClassTable
from pixelwise.losses import CombinedLoss, class_weights, pixels_of_photos_with
from pixelwise.models import build, start_from
from pixelwise.models.weights import load_encoder, read_state, transfer
from pixelwise.optimization import build_optimizer, follow_batch_statistics, freeze
from pixelwise.recipe import Loss, Model, Recipe


@dataclass(slots=True)
class RunState:
    """What the loop works on; `step`, `best`, `stale`, `seen` and the tensors are what a checkpoint holds.

    Attributes:
        recipe: what to train, and how.
        fabric: the processes and their devices.
        train_sets: what is learned from; val_sets: what the best weights are chosen on.
        factors: how often each photo comes, see `sampling_factors`.
        module: the network itself; model: the same as the loop calls it, wrapped for the devices.
        frozen: parts of it that stay in evaluation mode.
        ema: the moving average of its weights, which is validated and kept.
        optimizer: as its recipe has it; loss: likewise.
        step: steps taken.
        best: the best mean IoU on the validation data so far; stale: validations since.
        seen: int64 (C, C), what the network took for what in training since the last validation.
        masks: a hash of how many pixels of each class each photo to learn from has.
    """

    recipe: Recipe
    fabric: Fabric
    train_sets: list[Dataset]
    val_sets: list[Dataset]
    factors: NDArray[np.float64]
    module: nn.Module
    model: _FabricModule
    frozen: list[nn.Module]
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    loss: CombinedLoss
    step: int = 0
    best: float | None = None
    stale: int = 0
    seen: Tensor = field(default_factory=lambda: torch.zeros(0))
    masks: str = ""

    @classmethod
    def fresh(
        cls,
        recipe: Recipe,
        train_sets: list[Dataset],
        val_sets: list[Dataset],
        pixels: Sequence[NDArray[np.int64]],
        fabric: Fabric,
        *,
        bare: bool = False,
    ) -> RunState:
        """The state before the first step.

        Args:
            recipe: what to train, and how.
            train_sets: what to learn from.
            val_sets: what to choose the best weights on; all have one class table.
            pixels: for each photo to learn from, int64 (C,), the pixels of each class.
            fabric: launched.
            bare: without the weights that the recipe starts from, as a checkpoint brings all of its own.

        Raises:
            RecipeError: the recipe names parts that the network lacks.
        """
        classes = train_sets[0].classes
        torch.manual_seed(mix(recipe.seed, 0))
        given = recipe.model
        module = build(given.name, num_classes=len(classes), arguments_given=given.arguments)
        if not bare:
            _load_start(module, given)
        if fabric.device.type == "cpu":
            run_depthwise_in_float32(module)
        module = channels_last(module)
        if recipe.sync_batch_norm:
            if fabric.device.type != "cuda":
                raise RecipeError("sync_batch_norm works on CUDA devices only, as PyTorch has it; take it out.")
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        follow_batch_statistics(module)
        frozen = freeze(module, recipe.model.freeze)
        optimizer = build_optimizer(module, recipe.optimizer)
        decay = recipe.optimizer.ema_decay
        ema_fn = get_ema_multi_avg_fn(decay) if decay else _latest  # type: ignore[no-untyped-call]
        ema = AveragedModel(module, multi_avg_fn=ema_fn, use_buffers=True)
        callee: Any = torch.compile(module) if recipe.compile else module
        model, optimizer = fabric.setup(callee, optimizer)
        ema.to(fabric.device)
        factors = sampling_factors(pixels, class_balance=recipe.data.class_balance, background=classes.has_background)
        seen = torch.zeros(len(classes), len(classes), dtype=torch.int64, device=fabric.device)
        loss = _loss_function(recipe.loss, pixels, fabric, ignore_index=classes.ignore_index)
        state = cls(
            recipe, fabric, train_sets, val_sets, factors, module, model, frozen, ema, optimizer, loss, seen=seen
        )
        state.masks = hashlib.sha256(np.stack(pixels).tobytes()).hexdigest()
        return state

    @property
    def classes(self) -> ClassTable:
        """Of all its datasets."""
        return self.train_sets[0].classes

    @property
    def finished(self) -> bool:
        """Whether the last step was taken, or validations stopped getting better long enough ago."""
        patience = self.recipe.patience
        return self.step >= self.recipe.steps or (patience is not None and self.stale >= patience)

    def restore(self, directory: Path, *, say: Callable[[str], None] = lambda text: None) -> Path | None:
        """Take over the newest whole checkpoint, if there is one; gives its file.

        Args:
            directory: of the checkpoints.
            say: told of damaged ones, and where the masks are not what they were.

        Raises:
            RecipeError: the data are other ones than those that the run was started with.
            PixelwiseError: there are checkpoints, but none is whole.
        """
        found = latest_checkpoint(directory, say=say)
        if found is None:
            return None
        saved, path = found
        if saved["data"] != self._data():
            raise RecipeError(
                "The data changed since the run was started: photos came or went, or the classes are others. Bring "
                "them back as they were, or start a new run."
            )
        if saved.get("masks", self.masks) != self.masks:  # which earlier versions did not save
            say("Warning: The masks to learn from, or what is stated of them, changed since the run was started.")
        self.module.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.fabric.strategy.precision.load_state_dict(saved["precision"])
        self.step, self.best, self.stale = saved["step"], saved["best"], saved["stale"]
        if self.fabric.is_global_zero:
            self.seen = saved["seen"].to(self.fabric.device)
        return path

    def save(self, directory: Path) -> None:
        """Write a checkpoint, by the first process; the others wait."""
        total = self.sum_over_processes(self.seen)
        self.seen = total if self.fabric.is_global_zero else torch.zeros_like(total)
        if self.fabric.is_global_zero:
            parts = {
                "model": self.module.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "seen": self.seen,
                "data": self._data(),
                "masks": self.masks,
            }
            numbers = {"step": self.step, "best": self.best, "stale": self.stale}
            save_checkpoint(directory, {**parts, **numbers}, step=self.step)
        self.fabric.barrier()

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """The sum of the processes' tensors."""
        if self.fabric.world_size == 1:
            return values
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    def loader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The batches of this process from `step` on."""
        return loader_of_run(
            self.recipe,
            self.train_sets,
            self.factors,
            start_step=self.step,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )

    def _data(self) -> str:
        """A hash of which photos with which classes the run learns from and is validated on."""
        told = [(list(each.ids), each.split, each.classes.names) for each in [*self.train_sets, *self.val_sets]]
        return hashlib.sha256(repr(told).encode()).hexdigest()


def _load_start(module: nn.Module, given: Model) -> None:
    """Load what the recipe starts from."""
    if given.weights:
        start_from(module, given.name, given.weights)
    elif given.transfer:
        bundle = find_model(given.transfer)
        if bundle.config.form != "onnx":
            raise RecipeError(f"{given.transfer} was exported for OpenVINO; go on from the model that it was made of.")
        transfer(module, read_state(bundle.weights), source=str(bundle.path))
    elif given.encoder_weights:
        load_encoder(module, given.encoder_weights)


def _loss_function(
    given: Loss, pixels: Sequence[NDArray[np.int64]], fabric: Fabric, *, ignore_index: int
) -> CombinedLoss:
    """The recipe's losses, with class weights from the training masks."""
    table, weights = np.stack(pixels), None
    if given.class_weights != "none":
        shown = pixels_of_photos_with(table)
        values = class_weights(
            table.sum(axis=0), scheme=given.class_weights, pixels_of_photos_with=shown, beta=given.beta
        )
        weights = torch.from_numpy(values).to(fabric.device)
    return CombinedLoss(
        cross_entropy=given.cross_entropy,
        dice=given.dice,
        focal=given.focal,
        lovasz=given.lovasz,
        ohem=given.ohem,
        class_weights=weights,
        label_smoothing=given.label_smoothing,
        focal_gamma=given.focal_gamma,
        ohem_threshold=given.ohem_threshold,
        ohem_min_share=given.ohem_min_share,
        ignore_index=ignore_index,
    )


def _latest(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    """An average that forgets at once: the weights as they are."""
    for old, new in zip(averaged, current, strict=True):
        old.copy_(new)
