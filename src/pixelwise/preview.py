"""The contact sheet of a training run: the photos as the network will see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.colours import for_display
from pixelwise.data.loader import class_pixels, loader_of_run, sampling_factors
from pixelwise.data.sample import Dataset
from pixelwise.errors import OutputError
from pixelwise.files import is_there
from pixelwise.recipe import Recipe
from pixelwise.render import check_picture_suffix, write_picture
from pixelwise.sheet import Cell, draw_sheet, fit_mask, fit_photo, labelled_photo, shares_of


def check_preview(path: Path, *, force: bool) -> None:
    """See that a preview can be written, before the data are looked at.

    Raises:
        OutputError: the suffix is of no format that is written; there is no such directory; or there is such a file,
            and not `force`.
    """
    check_picture_suffix(path)
    if is_there(path) and not force:
        raise OutputError(f"{path} is there already; give another name, or --force to replace it.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no directory {path.parent} to write {path.name} to.")


def draw_preview(
    recipe: Recipe,
    datasets: Sequence[Dataset],
    path: Path,
    *,
    count: int = 24,
    force: bool = False,
    pixels: Sequence[NDArray[np.int64]] | None = None,
) -> None:
    """Draw the first samples of a run: each crop with its mask over it, its photo's id, and the classes below.

    They come from the run's own loader, in the run's order and with its draws. Ignored pixels are hatched.

    Args:
        recipe: of the run.
        datasets: its training data, as `recipe.data.train` names them.
        path: where to; .jpg or .png.
        count: how many samples; fewer where the run has fewer.
        force: whether a file that is there may be replaced.
        pixels: what `class_pixels` gives of the datasets, where it is known already.

    Raises:
        OutputError: there is a file, and `force` was not given; or the picture cannot be written.
        DataError: a photo or a mask cannot be read.
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}; expected 1 or more.")
    check_preview(path, force=force)
    classes = for_display(datasets[0].classes) if recipe.data.colours == "display" else datasets[0].classes
    ids = [name for dataset in datasets for name in dataset.ids]
    pixels = class_pixels(datasets) if pixels is None else pixels
    factors = sampling_factors(pixels, class_balance=recipe.data.class_balance, background=classes.has_background)
    steps = min(recipe.steps, math.ceil(count / recipe.batch_size))
    loader = loader_of_run(recipe.model_copy(update={"steps": steps}), datasets, factors)
    cells, shown = [], []
    for batch, (images, masks) in zip(loader.batch_sampler or (), loader, strict=True):
        for (index, _), image, target in zip(batch, images, masks, strict=True):
            photo, mask = image.permute(1, 2, 0).numpy(), target.numpy().astype(np.uint8)
            cells.append(Cell(labelled_photo(fit_photo(photo), fit_mask(mask), classes), ids[index]))
            shown.append(mask)
    cells, shown = cells[:count], shown[:count]
    across = math.ceil(math.sqrt(1.5 * len(cells)))
    rows = [cells[start : start + across] for start in range(0, len(cells), across)]
    write_picture(path, draw_sheet(rows, shares_of(shown, shown, classes)))
