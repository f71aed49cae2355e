"""Training: one loop, from a recipe and data to a run directory with the best model as a bundle.

The order of photos and every random draw are pure functions of (seed, step, index), and the learning rate is one of the
step, so a run that was killed goes on from its last checkpoint bit for bit as if it had not been.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from pixelwise.acceleration import channels_last, keep_freed_memory, run_depthwise_in_float32
from pixelwise.checkpoint import latest_checkpoint, save_checkpoint
from pixelwise.curves import draw_curves
from pixelwise.data import Dataset, open_dataset
from pixelwise.data.loader import loader_of_run, mix, sampling_factors
from pixelwise.engine import Precision, TorchEngine
from pixelwise.errors import PixelwiseError, RecipeError
from pixelwise.evaluate import evaluate
from pixelwise.files import write_atomically
from pixelwise.losses import cross_entropy_loss, soft_dice_loss
from pixelwise.models import WithAuxiliary, build, start_from
from pixelwise.models.weights import load_encoder
from pixelwise.recipe import Loss, Optimizer, Recipe
from pixelwise.segmenter import Segmenter
from pixelwise.trained import BEST_WEIGHTS, bundle_of_run, input_spec_of

LOG, RECIPE = "log.jsonl", "recipe.yaml"

Report = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands after a step.

    Attributes:
        step: steps taken; steps: steps in all.
        loss: mean over the steps since the last report.
        images_per_second: likewise, over all processes.
        val: mean IoU on the validation data where this step was validated, 0 to 1.
        best: the best of them so far.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    val: float | None
    best: float | None


def train(recipe: Recipe, *, data_root: Path, run: Path, resume: bool = False, report: Report | None = None) -> Path:
    """Train a model.

    Args:
        recipe: what to train, and how.
        data_root: the directory that the recipe's dataset directories are relative to.
        run: the run directory: made, or with `resume` gone on with. Holds `recipe.yaml`, `log.jsonl`, `curves.png`,
            `checkpoints/`, and at the end `model/`, the bundle of the best weights.
        resume: go on from the last checkpoint.
        report: called every ten steps and after each validation.

    Returns:
        the bundle's directory.

    Raises:
        RecipeError: the run directory belongs to another recipe, or holds a run and `resume` was not asked for.
        DataError: the data are missing or damaged.
    """
    _check_run(run, recipe, resume=resume)
    keep_freed_memory()
    fabric = Fabric(accelerator="auto", devices="auto", precision=recipe.precision)
    fabric.launch()
    state = _State.fresh(recipe, data_root, fabric)
    run.mkdir(parents=True, exist_ok=True)  # not before: what the data or the recipe got wrong leaves no run behind
    write_atomically(run / RECIPE, recipe.to_yaml().encode())
    state.restore(run / "checkpoints")
    _loop(state, run=run, report=report or (lambda progress: None))
    return bundle_of_run(recipe, run, state.val_sets)


@dataclass
class _State:
    """What the loop works on; `step`, `best` and the tensors are what a checkpoint holds."""

    recipe: Recipe
    fabric: Fabric
    train_sets: list[Dataset]
    val_sets: list[Dataset]
    factors: np.ndarray[Any, np.dtype[np.float64]]
    model: nn.Module
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float | None = None

    @classmethod
    def fresh(cls, recipe: Recipe, data_root: Path, fabric: Fabric) -> _State:
        train_sets, val_sets = (
            [open_dataset(s.layout, data_root / s.root, s.split, s.options) for s in sources]
            for sources in (recipe.data.train, recipe.data.val)
        )
        classes = train_sets[0].classes
        if any(dataset.classes != classes for dataset in train_sets + val_sets):
            raise RecipeError("The recipe's datasets have different class tables; they cannot train one model.")
        torch.manual_seed(mix(recipe.seed, 0))
        module = build(recipe.model.name, num_classes=len(classes), arguments_given=recipe.model.arguments)
        if recipe.model.weights:
            start_from(module, recipe.model.name, recipe.model.weights)
        elif recipe.model.encoder_weights:
            load_encoder(module, recipe.model.encoder_weights)
        for name in recipe.model.freeze:
            _submodule(module, name).requires_grad_(False)
        if fabric.device.type == "cpu":
            run_depthwise_in_float32(module)
        module = channels_last(module)
        optimizer = torch.optim.AdamW(_parameter_groups(module, recipe.optimizer), betas=(0.9, 0.999))
        decay = recipe.optimizer.ema_decay
        ema_fn = get_ema_multi_avg_fn(decay) if decay else _latest  # type: ignore[no-untyped-call]
        ema = AveragedModel(module, multi_avg_fn=ema_fn, use_buffers=True)
        model, optimizer = fabric.setup(module, optimizer)
        ema.to(fabric.device)
        factors = sampling_factors(_pixels_of_classes(train_sets), class_balance=recipe.data.class_balance)
        return cls(recipe, fabric, train_sets, val_sets, factors, model, ema, optimizer)

    def restore(self, directory: Path) -> None:
        found = latest_checkpoint(directory)
        if found is None:
            return
        saved, _ = found
        self.model.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.best = saved["step"], saved["best"]

    def save(self, directory: Path) -> None:
        if self.fabric.is_global_zero:
            parts = {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            save_checkpoint(directory, {**parts, "step": self.step, "best": self.best}, step=self.step)
        self.fabric.barrier()

    def loader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return loader_of_run(
            self.recipe,
            self.train_sets,
            self.factors,
            start_step=self.step,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )


def _loop(state: _State, *, run: Path, report: Report) -> None:
    recipe, checkpoints = state.recipe, run / "checkpoints"
    mean = torch.tensor(recipe.input.mean, device=state.fabric.device).view(3, 1, 1)
    std = torch.tensor(recipe.input.std, device=state.fabric.device).view(3, 1, 1)
    losses, since, since_step = [], time.perf_counter(), state.step
    for images, masks in state.loader():
        images, masks = state.fabric.to_device((images, masks))
        pixels = ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        losses.append(_step(state, pixels, masks))
        state.step += 1
        validated = state.step % recipe.validate_every == 0 or state.step == recipe.steps
        if validated or state.step % 10 == 0:
            seconds = time.perf_counter() - since
            speed = recipe.batch_size * (state.step - since_step) / seconds
            loss = float(torch.stack(losses).mean())
            val = _validate(state, run) if validated else None
            progress = Progress(state.step, recipe.steps, loss, speed, val, state.best)
            if state.fabric.is_global_zero:
                _log(run, progress)
                report(progress)
            losses, since, since_step = [], time.perf_counter(), state.step
        if validated or state.step % recipe.checkpoint_every == 0:
            state.save(checkpoints)
        if validated and state.fabric.is_global_zero:
            draw_curves(run / LOG, run / "curves.png")


def _step(state: _State, pixels: Tensor, masks: Tensor) -> Tensor:
    """One update; returns the loss, ()."""
    recipe = state.recipe
    torch.manual_seed(mix(recipe.seed, 1, state.step, state.fabric.global_rank))  # for dropout and the pixel offset
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * learning_rate_factor(state.step, recipe.steps, recipe.optimizer.warmup_steps)
    state.model.train()
    for name in recipe.model.freeze:
        state.model.get_submodule(name).eval()
    answer = state.model(pixels)
    stride = recipe.loss.pixel_stride
    row, column = (int(offset) for offset in torch.randint(stride, (2,)))
    pick = (..., slice(row, None, stride), slice(column, None, stride))
    if isinstance(answer, WithAuxiliary):
        loss = _loss(recipe.loss, answer.logits[pick], masks[pick])
        loss = loss + recipe.loss.auxiliary * _loss(recipe.loss, answer.auxiliary[pick], masks[pick])
    else:
        loss = _loss(recipe.loss, answer[pick], masks[pick])
    if not torch.isfinite(loss):
        raise PixelwiseError(
            f"The loss is {float(loss)} at step {state.step}; lower optimizer.lr, or train in precision 32-true."
        )
    state.optimizer.zero_grad()
    state.fabric.backward(loss)
    state.fabric.clip_gradients(state.model, state.optimizer, max_norm=recipe.optimizer.clip)
    state.optimizer.step()
    state.ema.update_parameters(state.model)
    return loss.detach()


def _loss(weights: Loss, logits: Tensor, target: Tensor) -> Tensor:
    """The weighted sum of the losses, ()."""
    loss = weights.cross_entropy * cross_entropy_loss(logits, target)
    return loss + weights.dice * soft_dice_loss(logits, target) if weights.dice else loss


def learning_rate_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at a step: a linear rise, then half a cosine down to zero.

    Source: Loshchilov and Hutter, "SGDR", 2017, arXiv:1608.03983, without restarts.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def _validate(state: _State, run: Path) -> float:
    """Mean IoU of the averaged weights on all validation data taken together; the best weights are kept on disk."""
    module = state.ema.module
    classes = state.val_sets[0].classes
    precision: Precision = "fp32" if state.recipe.precision == "32-true" else "bf16"
    segmenter = Segmenter(TorchEngine(module, precision=precision), classes, input_spec_of(state.recipe, module))
    score = evaluate(segmenter, state.val_sets).scores.mean_iou
    if state.best is None or score > state.best:
        state.best = score
        if state.fabric.is_global_zero:
            tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
            data = save_safetensors(tensors, {"step": str(state.step), "val_miou": str(score)})
            write_atomically(run / BEST_WEIGHTS, data)
    return score


def _submodule(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        parts = ", ".join(part for part, _ in module.named_modules() if part and part.count(".") < 2)
        raise RecipeError(f"model.freeze names {name!r}, which the network lacks; it has: {parts}.") from error


def _parameter_groups(module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """Four groups: encoder or not, with weight decay (matrices and kernels) or without (vectors)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        encoder = name.startswith(("encoder.", "backbone."))
        groups.setdefault((encoder, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak_lr": optimizer.encoder_lr if encoder else optimizer.lr,
            "lr": 0.0,
            "weight_decay": optimizer.weight_decay if decay else 0.0,
        }
        for (encoder, decay), parameters in groups.items()
    ]


def _pixels_of_classes(datasets: list[Dataset]) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Reads every mask once; also the check that all of them can be read before training starts."""
    pixels = []
    for dataset in datasets:
        for index in range(len(dataset)):
            counts = np.bincount(dataset.mask(index).ravel(), minlength=256)
            pixels.append(counts[: len(dataset.classes)])
    return pixels


def _latest(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    """An average that forgets at once: the weights as they are."""
    for old, new in zip(averaged, current, strict=True):
        old.copy_(new)


def _check_run(run: Path, recipe: Recipe, *, resume: bool) -> None:
    """See that the run directory is free, or holds a run of this recipe that is to go on."""
    path = run / RECIPE
    if not path.exists():
        return
    if not resume:
        raise RecipeError(f"{run} holds a run already; give --resume to go on with it, or another directory.")
    if path.read_text(encoding="utf-8") != recipe.to_yaml():
        raise RecipeError(f"{run} was started with another recipe than the one given; see {path}.")


def _log(run: Path, progress: Progress) -> None:
    entry = {
        "step": progress.step,
        "loss": round(progress.loss, 5),
        "images_per_second": round(progress.images_per_second, 2),
        "time": round(time.time(), 1),
    }
    if progress.val is not None:
        entry["val_miou"] = round(progress.val, 5)
    with (run / LOG).open("a") as file:
        file.write(json.dumps(entry) + "\n")
