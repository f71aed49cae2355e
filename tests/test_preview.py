from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers import pixelwise
from pixelwise.colours import for_display
from pixelwise.data import open_dataset
from pixelwise.data.loader import class_pixels, loader_of_run, sampling_factors
from pixelwise.data.sample import Dataset, Sample
from pixelwise.errors import OutputError
from pixelwise.labels import VOC, ClassTable
from pixelwise.preview import draw_preview
from pixelwise.recipe import Recipe, parse_recipe
from pixelwise.sheet import draw_snapshot

SOURCE = {"layout": "voc", "root": "voc", "split": "train"}
TABLE = ClassTable(("sky", "grass"), ((0, 90, 220), (40, 200, 60)))
WRONG = (214, 39, 40)


class Made:
    """Black photos; the mask of photo i is class i + 1 but for its ignored lower half."""

    classes, split = VOC, "train"

    def __init__(self, length: int) -> None:
        self.ids = [f"photo {index}" for index in range(length)]

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, index: int) -> NDArray[np.uint8]:
        mask = np.full((40, 60), index + 1, np.uint8)
        mask[20:] = 255
        return mask

    def __getitem__(self, index: int) -> Sample:
        return Sample(image=np.zeros((40, 60, 3), np.uint8), mask=self.mask(index), id=self.ids[index])


def recipe_with(**changes: object) -> Recipe:
    augment = {"crop_size": [40, 60], "scale": [1, 1], "colour": 0, "hue": 0, "grey": 0}
    raw = {"name": "small", "data": {"train": [SOURCE], "val": [SOURCE]}, "augment": augment, "workers": 0}
    return parse_recipe({**raw, "input": {"long_side": 60}, "batch_size": 2, **changes}, name="small")


def opened(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def cells_of(sheet: NDArray[np.uint8], rows: int, columns: int, height: int) -> list[NDArray[np.uint8]]:
    """The pictures of a sheet whose slots are 256 wide."""
    tops = [22 + row * (22 + height + 12) for row in range(rows)]
    lefts = [12 + column * (256 + 12) for column in range(columns)]
    return [sheet[top : top + height, left : left + 256] for top in tops for left in lefts]


def near(picture: NDArray[np.uint8], colour: tuple[int, ...], by: int = 3) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (np.abs(picture.astype(int) - colour) <= by).all(axis=-1)
    return found


def test_a_preview_shows_the_first_samples_of_the_run_in_their_order(tmp_path: Path):
    recipe, dataset = recipe_with(seed=5), Made(7)
    draw_preview(recipe, [dataset], tmp_path / "sheet.png", count=6)
    sheet = opened(tmp_path / "sheet.png")
    factors = sampling_factors(class_pixels([dataset]), class_balance=0.0)
    seen = [int(mask.min()) for _, masks in loader_of_run(recipe, [dataset], factors) for mask in masks][:6]
    assert len(set(seen)) == 6
    for cell, class_id in zip(cells_of(sheet, 2, 3, 171), seen, strict=True):
        # The class is blended over black at 0.45 of its colour.
        blended = [round(channel * 0.45) for channel in VOC.colours[class_id]]
        assert near(cell[20:60, 20:236], tuple(blended)).mean() > 0.95
        hatched = near(cell[110:160, 20:236], (224, 224, 192)).mean()
        assert 0.2 < hatched < 0.5
        assert not near(cell[20:60, 20:236], (224, 224, 192)).any()


def test_a_preview_of_augmented_crops_of_real_photos(tmp_path: Path, shared_data: Path):
    dataset: Dataset = open_dataset("camvid", shared_data / "camvid", "val")
    augment = {"crop_size": [180, 240], "rotation": 20, "blur": 0.5, "cutout": 0.5}
    recipe = recipe_with(augment=augment, batch_size=4, input={"long_side": 480})
    first, again = tmp_path / "first.jpg", tmp_path / "again.jpg"
    for path in (first, again):
        draw_preview(recipe, [dataset], path, count=3)
    assert first.read_bytes() == again.read_bytes()
    with Image.open(first) as image:
        assert image.format == "JPEG"
        assert image.width == 12 + 3 * (256 + 12)
        assert image.height > 22 + 192 + 12 + 3 * 14  # the legend lies below


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 2), (2, 1, 2), (5, 2, 3), (24, 4, 6)])
def test_a_sheet_has_a_cell_a_sample(tmp_path: Path, count: int, rows: int, columns: int):
    draw_preview(recipe_with(), [Made(7)], tmp_path / "sheet.png", count=count)
    sheet = opened(tmp_path / "sheet.png")
    filled = [not near(cell[60:80, 60:80], (255, 255, 255)).all() for cell in cells_of(sheet, rows, columns, 171)]
    assert filled == [number < count for number in range(rows * columns)]


def test_a_run_of_few_steps_has_few_samples(tmp_path: Path):
    draw_preview(recipe_with(steps=1), [Made(7)], tmp_path / "few.png", count=24)
    draw_preview(recipe_with(), [Made(7)], tmp_path / "two.png", count=2)
    assert np.array_equal(opened(tmp_path / "few.png"), opened(tmp_path / "two.png"))


def test_two_datasets_are_one(tmp_path: Path):
    class Second(Made):
        def mask(self, index: int) -> NDArray[np.uint8]:
            return np.full((40, 60), 20, np.uint8)

    draw_preview(recipe_with(), [Made(1), Second(1)], tmp_path / "sheet.png", count=2)
    sheet = opened(tmp_path / "sheet.png")
    colours = {tuple(np.median(cell[20:60, 20:236], axis=(0, 1)).tolist()) for cell in cells_of(sheet, 1, 2, 171)}
    assert colours == {tuple(round(c * 0.45) for c in VOC.colours[class_id]) for class_id in (1, 20)}


def test_the_colours_are_those_that_the_model_will_have(tmp_path: Path):
    data = {"train": [SOURCE], "val": [SOURCE], "colours": "display"}
    draw_preview(recipe_with(data=data, batch_size=1), [Made(1)], tmp_path / "sheet.png", count=1)
    cell, *_ = cells_of(opened(tmp_path / "sheet.png"), 1, 1, 171)
    blended = [round(channel * 0.45) for channel in for_display(VOC).colours[1]]
    assert near(cell[20:60, 20:236], tuple(blended)).mean() > 0.95


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"sheet\.png is there already"):
        draw_preview(recipe_with(), [Made(2)], path, count=1)
    assert path.read_bytes() == b"mine"
    draw_preview(recipe_with(), [Made(2)], path, count=1, force=True)
    assert opened(path).shape[2] == 3


def test_a_preview_that_cannot_be_drawn_says_why(tmp_path: Path):
    with pytest.raises(OutputError, match=r"written as \.jpg or \.png"):
        draw_preview(recipe_with(), [Made(2)], tmp_path / "sheet.tiff", count=1)
    with pytest.raises(ValueError, match="count is 0"):
        draw_preview(recipe_with(), [Made(2)], tmp_path / "sheet.png", count=0)
    with pytest.raises(OutputError, match=r"no directory .*nowhere to write sheet\.png to"):
        draw_preview(recipe_with(), [Made(2)], tmp_path / "nowhere" / "sheet.png", count=1)
    assert list(tmp_path.iterdir()) == []


def test_a_preview_that_cannot_be_drawn_is_refused_before_the_data_are_looked_at(tmp_path: Path):
    _, err = pixelwise("train", "--data", "not-looked-for", "--preview", "sheet.gif", cwd=tmp_path, status=2)
    assert "sheet.gif: pictures are written as .jpg or .png" in err


def test_a_snapshot_shows_photo_truth_prediction_and_where_they_differ(tmp_path: Path):
    photo = np.full((128, 256, 3), 100, np.uint8)
    truth = np.zeros((128, 256), np.uint8)
    truth[:, 128:] = 1
    truth[:32] = 255
    prediction = np.zeros((128, 256), np.uint8)
    prediction[:, 192:] = 1
    path = tmp_path / "validation" / "step-00000500.png"
    draw_snapshot([photo], [truth], [prediction], TABLE, path, ids=["one"])
    shown, true, predicted, differing = cells_of(opened(path), 1, 4, 128)
    assert near(shown, (100, 100, 100)).all()
    sky, grass = (tuple(round(55 + channel * 0.45) for channel in colour) for colour in TABLE.colours)
    assert near(true[40:, 4:120], sky).all()
    assert near(true[40:, 136:252], grass).all()
    assert near(predicted[4:, 4:184], sky).all()
    assert near(predicted[4:, 200:252], grass).all()
    wrong = near(differing, WRONG, by=0)
    assert np.array_equal(wrong[32:], (truth != prediction)[32:])
    assert not wrong[:32].any()  # what is ignored cannot be wrong
    assert near(differing[:32], (224, 224, 192)).any()


def test_a_snapshot_shows_six_photos_at_most_of_any_size(tmp_path: Path):
    chance = np.random.default_rng(0)
    sizes = [(30, 40), (400, 300), (1, 1), (90, 1000), (64, 64), (20, 7), (50, 50), (60, 60)]
    photos = [chance.integers(0, 256, (*size, 1), dtype=np.uint8).repeat(3, axis=2) for size in sizes]
    masks = [chance.integers(0, 2, size, dtype=np.uint8) for size in sizes]
    ids = [f"ünïcode {n}" for n in range(8)]
    draw_snapshot(photos, masks, masks, TABLE, tmp_path / "all.jpg", ids=ids)
    draw_snapshot(photos[:6], masks[:6], masks[:6], TABLE, tmp_path / "six.jpg", ids=ids[:6])
    assert (tmp_path / "all.jpg").read_bytes() == (tmp_path / "six.jpg").read_bytes()
    assert not near(opened(tmp_path / "six.jpg"), WRONG, by=20).any()


def test_a_snapshot_of_what_does_not_fit_is_refused(tmp_path: Path):
    photo, mask = np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8)
    with pytest.raises(ValueError, match="differ in size"):
        draw_snapshot([photo], [mask], [mask.T.copy()], TABLE, tmp_path / "x.jpg", ids=["a"])
    with pytest.raises(ValueError, match="no photo"):
        draw_snapshot([], [], [], TABLE, tmp_path / "x.jpg", ids=[])
    assert not (tmp_path / "x.jpg").exists()
