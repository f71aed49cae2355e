"""Training: one loop, from a recipe and data to a run directory with the best model as a bundle.

The order of photos and every random draw are pure functions of (seed, step, index), and the learning rate is one of the
step, so a run that was killed goes on from its last checkpoint bit for bit as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors.torch import save as save_safetensors
from torch import Tensor

from pixelwise.acceleration import keep_freed_memory
from pixelwise.checkpoint import checkpoints_in
from pixelwise.curves import draw_curves
from pixelwise.data.loader import mix
from pixelwise.data_check import check_data, common_classes, open_sets
from pixelwise.errors import PixelwiseError, RecipeError
from pixelwise.files import write_atomically
from pixelwise.machine import cores
from pixelwise.metrics import ConfusionMatrix, scores
from pixelwise.models import WithAuxiliary
from pixelwise.optimization import learning_rate_factor
from pixelwise.plan import Plan
from pixelwise.recipe import Recipe
from pixelwise.run_directory import RunDirectory
from pixelwise.run_log import RunLog, check_services
from pixelwise.run_page import write_run_page
from pixelwise.run_state import RunState
from pixelwise.sheet import MOST_PHOTOS, draw_snapshot
from pixelwise.trained import bundle_of_run, input_spec_of, model_classes
from pixelwise.validation import Validation, validate
from pixelwise.watcher import Progress, Watcher

LOG_EVERY = 10

_NO_MEMORY = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")
"""What PyTorch says of the processor's memory; of a graphics card's it has an error of its own."""

_NO_SHARED_MEMORY = ("unable to allocate shared memory", "killed by signal: Bus error", "killed by signal: Killed")
"""What it says where the processes that read photos could not hand them over, or were ended for want of memory."""


def train(
    plan: Plan,
    *,
    data_root: Path,
    run: Path,
    fabric: Fabric,
    resume: bool = False,
    watcher: Watcher | None = None,
) -> Path:
    """Train a model.

    Args:
        plan: what to train, and how, and why so.
        data_root: the directory that the recipe's dataset directories are relative to.
        run: the run directory, see `pixelwise.run_directory`: made, or with `resume` gone on with. `model/` in it is at
            the end the bundle of the best weights.
        fabric: launched, see `pixelwise.processes`.
        resume: go on from the last checkpoint.
        watcher: told how the run goes, on the first process.

    Returns:
        the bundle's directory.

    Raises:
        RecipeError: the run directory belongs to another recipe, holds a run and `resume` was not asked for, or is in
            use.
        DataError: the data are missing or damaged.
    """
    directory = RunDirectory(run)
    watcher = watcher if watcher and fabric.is_global_zero else Watcher()
    recipe = plan.recipe
    _check_processes(recipe, fabric)
    directory.check(recipe.to_yaml(), resume=resume)
    with directory.locked() if fabric.is_global_zero else nullcontext():
        keep_freed_memory()
        torch.set_num_threads(min(torch.get_num_threads(), cores()))
        torch.use_deterministic_algorithms(recipe.deterministic)
        if fabric.is_global_zero and not directory.recipe.exists():
            check_services(recipe.log_to)
        train_sets, val_sets = open_sets(recipe.data.train, data_root), open_sets(recipe.data.val, data_root)
        common_classes([*train_sets, *val_sets])
        pixels = plan.pixels or ()
        if fabric.is_global_zero and not pixels:
            pixels = check_data(train_sets, val_sets, watcher, root=data_root / recipe.data.train[0].root)
        watcher.stage("building the network", 0)
        bare = bool(checkpoints_in(directory.checkpoints))
        state = RunState.fresh(recipe, train_sets, val_sets, fabric.broadcast(pixels), fabric, bare=bare)
        if fabric.is_global_zero:  # not before: what the data or the recipe got wrong leaves no run behind
            plan.write(directory)
        _run(state, directory, watcher)
        if fabric.is_global_zero:
            watcher.stage("writing the model", 0)
            draw_curves(directory.log, directory.curves)
            write_run_page(directory, bundle_of_run(recipe, directory, state.val_sets))
    return directory.model


def _check_processes(recipe: Recipe, fabric: Fabric) -> None:
    """See that all processes are about to do the same, as each may have chosen its recipe by itself, and have work."""
    if fabric.world_size > 1:
        recipes: list[str | None] = [None] * fabric.world_size
        torch.distributed.all_gather_object(recipes, recipe.to_yaml())
        if len(set(recipes)) > 1:
            raise RecipeError(
                "The processes came to different recipes, as their machines differ; write one with --dry-run and give "
                "that file to all of them."
            )
    if recipe.batch_size < fabric.world_size:
        raise RecipeError(
            f"batch_size is {recipe.batch_size}, and there are {fabric.world_size} processes; each of them needs a "
            "photo a step."
        )


def _check_same_checkpoint(state: RunState, checkpoint: Path | None) -> None:
    """See that all processes go on from the same checkpoint, as each looks for it in the directory that it sees."""
    if state.fabric.world_size == 1:
        return
    found = ["none"] * state.fabric.world_size
    torch.distributed.all_gather_object(found, checkpoint.name if checkpoint else "none")
    if len(set(found)) > 1:
        names = " and ".join(sorted(set(found)))
        raise PixelwiseError(
            f"The processes found different checkpoints ({names}); the run's directory has to be on a disk that all "
            "machines share."
        )


def _run(state: RunState, directory: RunDirectory, watcher: Watcher) -> None:
    """From the last checkpoint, or from the start, to the last step."""
    checkpoint = state.restore(directory.checkpoints, say=watcher.say)
    _check_same_checkpoint(state, checkpoint)
    if checkpoint is not None:
        watcher.say(f"Goes on from step {state.step} ({checkpoint.name}).")
    if state.finished:
        return
    log = None
    if state.fabric.is_global_zero:
        settings = state.recipe.model_dump(mode="json")
        log = RunLog(directory, start_step=state.step, settings=settings, services=state.recipe.log_to)
    try:
        with log or nullcontext():
            _loop(state, directory, log, watcher)
    except (RuntimeError, MemoryError, ValueError) as error:  # what PyTorch raises has seldom a class of its own
        told = _told(error, alone=state.fabric.world_size == 1)
        if told is None:
            raise
        raise PixelwiseError(told) from error


def _told(error: Exception, *, alone: bool) -> str | None:
    """What an error that can be helped comes from, and what helps; None of any other."""
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in said for words in _NO_MEMORY):
        return (
            "There is not enough memory for this training; lower batch_size or augment.crop_size, or raise accumulate."
        )
    if any(words in said for words in _NO_SHARED_MEMORY):
        return (
            "The processes that read photos ran out of memory; give the container more shared memory (Docker: "
            "--shm-size=2g), or read the photos in this process with --set workers=0."
        )
    if "Expected more than 1 value per channel" in said:  # torch.nn.functional.batch_norm
        return (
            "Batch normalisation has a single value to go by; raise augment.crop_size, or batch_size, or lower "
            "accumulate."
        )
    if "does not have a deterministic implementation" in said:
        return (
            f"PyTorch's {said.split()[0]} gives slightly other results each time on this device, which the recipe "
            "forbids; set deterministic to false, or train on a processor."
        )
    if "onnection" in said and not alone:
        return "Another process of this run is gone; go on from the last checkpoint with --resume."
    return None


def _loop(state: RunState, directory: RunDirectory, log: RunLog | None, watcher: Watcher) -> None:
    recipe = state.recipe
    watcher.stage("training", recipe.steps)
    started = time.perf_counter() - directory.seconds()
    window = _Window(state)
    for images, masks in state.loader():
        window.add(take_step(state, images, masks))
        state.step += 1
        last = state.step == recipe.steps
        validating = last or state.step % recipe.validate_every == 0
        saving = validating or state.step % recipe.checkpoint_every == 0
        if saving or state.step % LOG_EVERY == 0:  # also at checkpoints, so that none needs to hold half a window
            loss, speed = window.close()
            scalars = {"loss": loss, "lr": state.optimizer.param_groups[0]["lr"]}
            if validating:
                scalars |= _validated(state, directory, watcher)
            if log is not None:
                log.write(state.step, scalars, speed=speed)
            watcher.progress(Progress(state.step, recipe.steps, loss, speed, scalars.get("val_miou"), state.best))
            window = _Window(state)
        if saving:
            state.save(directory.checkpoints)
            if state.fabric.is_global_zero:
                directory.note_seconds(time.perf_counter() - started)
        if validating and state.fabric.is_global_zero:
            draw_curves(directory.log, directory.curves)
        if state.finished:
            if not last:
                watcher.say(f"Stops early: no better mean IoU for {state.stale} validations.")
            return


class _Window:
    """The losses and the time since the last entry of the log."""

    def __init__(self, state: RunState) -> None:
        self._state, self._losses = state, list[Tensor]()
        self._since, self._step = time.perf_counter(), state.step

    def add(self, loss: Tensor) -> None:
        self._losses.append(loss)

    def close(self) -> tuple[float, float]:
        """Mean loss over the processes, and photos a second."""
        state = self._state
        mean = state.sum_over_processes(torch.stack(self._losses).mean()) / state.fabric.world_size
        seconds = time.perf_counter() - self._since
        return float(mean), state.recipe.batch_size * (state.step - self._step) / seconds


def _on_device(state: RunState, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 (B, 3, H, W) as the loader gives them -> normalised float, channels last; and the masks, int64."""
    images, masks = state.fabric.to_device((images, masks))
    spec = state.recipe.input
    mean, std = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in (spec.mean, spec.std))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last), masks.long()


def take_step(state: RunState, images: Tensor, masks: Tensor) -> Tensor:
    """One update of the weights, from `accumulate` parts of the batch.

    Args:
        state: changed in place, but for its `step`.
        images: uint8 (B, 3, H, W) RGB, this process's part of the batch.
        masks: uint8 (B, H, W) class ids or ignore_index.

    Returns:
        () float, the loss.

    Raises:
        PixelwiseError: the loss is not finite, or the gradient is not, but for "16-mixed".
    """
    recipe, fabric = state.recipe, state.fabric
    pixels, masks = _on_device(state, images, masks)
    torch.manual_seed(mix(recipe.seed, 1, state.step, fabric.global_rank))  # for dropout and the pixel offset
    settings = recipe.optimizer
    factor = learning_rate_factor(
        state.step,
        steps=recipe.steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        power=settings.power,
    )
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    state.model.train()
    for frozen in state.frozen:
        frozen.eval()
    state.optimizer.zero_grad()
    total = torch.zeros((), device=pixels.device)
    parts = list(_parts(pixels, masks, recipe.accumulate))
    for number, (part, target) in enumerate(parts, start=1):
        # The processes' gradients are averaged: one that has more of the photos is to count for more.
        share = len(part) * fabric.world_size / recipe.batch_size
        with fabric.no_backward_sync(state.model, enabled=number < len(parts)):
            loss = _forward(state, part, target)
            if not torch.isfinite(loss):
                raise _not_finite("loss", loss, state.step)
            fabric.backward(loss * share)
        total += loss.detach() * share
    norm = fabric.clip_gradients(state.model, state.optimizer, max_norm=settings.clip, error_if_nonfinite=False)
    # float16's scaler tries a larger factor now and then, and leaves the step out where that was too large.
    if recipe.precision != "16-mixed" and norm is not None and not torch.isfinite(norm):
        raise _not_finite("gradient's norm", norm, state.step)
    state.optimizer.step()
    state.ema.update_parameters(state.module)
    return total


def _not_finite(what: str, value: Tensor, step: int) -> PixelwiseError:
    return PixelwiseError(
        f"The {what} is {float(value.detach())} at step {step}; lower optimizer.lr, or set precision to 32-true."
    )


def _parts(pixels: Tensor, masks: Tensor, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(pixels.chunk(parts), masks.chunk(parts), strict=True)


def _forward(state: RunState, pixels: Tensor, masks: Tensor) -> Tensor:
    """The loss, (); what was taken for what goes into `state.seen`."""
    settings = state.recipe.loss
    answer = state.model(pixels)
    row, column = (int(offset) for offset in torch.randint(settings.pixel_stride, (2,)))
    pick = (..., slice(row, None, settings.pixel_stride), slice(column, None, settings.pixel_stride))
    target = masks[pick]
    if isinstance(answer, WithAuxiliary):
        logits = answer.logits[pick]
        loss = state.loss(logits, target) + settings.auxiliary * state.loss(answer.auxiliary[pick], target)
    else:
        logits = answer[pick]
        loss = state.loss(logits, target)
    with torch.no_grad():
        labelled = target != state.classes.ignore_index
        fused = target[labelled] * len(state.classes) + logits.argmax(dim=1)[labelled]
        state.seen += torch.bincount(fused, minlength=state.seen.numel()).view_as(state.seen)
    return loss


def _validated(state: RunState, directory: RunDirectory, watcher: Watcher) -> dict[str, float]:
    """Validate the averaged weights, keep them where they are the best so far; the figures for the log."""
    recipe, module = state.recipe, state.ema.module
    if state.fabric.world_size > 1:  # batch statistics are each process's own: all are to validate the same network
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
    found = validate(
        module,
        state.val_sets,
        input_spec_of(recipe, module),
        fabric=state.fabric,
        bf16=recipe.precision != "32-true",
        loss=state.loss,
        examples=MOST_PHOTOS,
        advance=watcher.validating,
    )
    score = found.scores.mean_iou
    if math.isnan(score):
        raise PixelwiseError("No pixel of the validation masks is labelled, so that no weights can be chosen.")
    if found.examples:
        samples, predictions = zip(*found.examples, strict=True)
        draw_snapshot(
            [sample.image for sample in samples],
            [sample.mask for sample in samples],
            predictions,
            model_classes(recipe, state.classes),
            directory.picture(state.step),
            ids=[sample.id for sample in samples],
        )
    state.stale += 1
    if state.best is None or score > state.best:
        state.best, state.stale = score, 0
        if state.fabric.is_global_zero:
            tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
            # One entry only: safetensors writes several in an order of its own, and two runs are to give the same file.
            data = save_safetensors(tensors, {"step": str(state.step)})
            write_atomically(directory.best, data)
    return {**_training_figures(state), **_validation_figures(found)}


def _training_figures(state: RunState) -> dict[str, float]:
    """What the network made of the training photos since the last validation; starts counting anew."""
    counts = state.sum_over_processes(state.seen).cpu().tolist()
    state.seen = torch.zeros_like(state.seen)
    numbers = {"num_classes": len(counts), "ignore_index": state.classes.ignore_index, "images": 0}
    figures = scores(ConfusionMatrix.from_json({**numbers, "ignored_pixels": 0, "counts": counts}))
    return {"train_miou": figures.mean_iou, "train_pixel_accuracy": figures.pixel_accuracy}


def _validation_figures(found: Validation) -> dict[str, float]:
    figures = found.scores
    return {"val_loss": found.loss, "val_miou": figures.mean_iou, "val_pixel_accuracy": figures.pixel_accuracy}
