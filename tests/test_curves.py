from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelwise.curves import draw_curves
from pixelwise.errors import OutputError

BLUE, ORANGE = (31, 119, 180), (217, 95, 2)
TRAIN = ("loss", "train_pixel_accuracy", "train_miou")
VAL = ("val_loss", "val_pixel_accuracy", "val_miou")


def log_of(path: Path, entries: list[dict[str, Any]], torn: str = "") -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + torn)
    return path


def drawn(log: Path, **options: Any) -> np.ndarray:
    """What `draw_curves` makes of a log, uint8 (h, w, 3)."""
    picture = log.with_suffix(".png")
    draw_curves(log, picture, **options)
    with Image.open(picture) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def pixels_of(picture: np.ndarray, colour: tuple[int, int, int]) -> list[int]:
    """How many pixels of each third, from the left, have about a colour."""
    near = (np.abs(picture.astype(int) - colour) < 30).all(axis=2)
    return [int(third.sum()) for third in np.array_split(near, 3, axis=1)]


def entry(step: int, fields: tuple[str, ...], value: float = 0.5) -> dict[str, Any]:
    return {"step": step, **dict.fromkeys(fields, value), "lr": 1e-3, "time": 1.5}


def test_each_panel_has_the_curves_that_the_log_has(tmp_path: Path):
    both = drawn(
        log_of(
            tmp_path / "both.jsonl", [entry(s, TRAIN, s / 100) | dict.fromkeys(VAL, s / 200) for s in range(10, 60, 10)]
        )
    )
    assert all(count > 100 for colour in (BLUE, ORANGE) for count in pixels_of(both, colour))
    training = drawn(log_of(tmp_path / "training.jsonl", [entry(s, TRAIN, s / 100) for s in range(10, 60, 10)]))
    assert all(count > 100 for count in pixels_of(training, BLUE))
    assert pixels_of(training, ORANGE) == [0, 0, 0]
    for number, field in enumerate(TRAIN):
        alone = drawn(log_of(tmp_path / f"{field}.jsonl", [entry(s, (field,), s / 100) for s in range(10, 60, 10)]))
        assert [count > 0 for count in pixels_of(alone, BLUE)] == [number == n for n in range(3)]


def orange_columns(log: Path) -> list[int]:
    """Columns of the first panel that a dotted line runs down."""
    picture = drawn(log)
    red, _, blue = np.moveaxis(picture[:, : picture.shape[1] // 3].astype(int), 2, 0)
    return np.flatnonzero((red - blue > 40).sum(axis=0) > 80).tolist()


@pytest.mark.parametrize(("field", "values"), [("val_miou", (0.1, 0.6, 0.6, 0.3)), ("val_loss", (3.0, 1.0, 1.0, 2.0))])
def test_the_best_validation_is_marked_the_first_of_equals(tmp_path: Path, field: str, values: tuple[float, ...]):
    # The loss falls at once, so that its curve does not run behind the legend.
    entries = [entry(100 * n, ("loss",), 0.2 if n else 0.5) | {field: value} for n, value in enumerate(values)]
    marked = orange_columns(log_of(tmp_path / "log.jsonl", entries))
    # The first panel runs from step 0 to 300 over its axes; step 100 lies a third of the way.
    blue = (np.abs(drawn(tmp_path / "log.jsonl").astype(int) - BLUE) < 30).all(axis=2)
    columns = np.flatnonzero(blue[:, : blue.shape[1] // 3].sum(axis=0))
    third = columns.min() + (columns.max() - columns.min()) / 3
    assert marked
    assert abs(np.mean(marked) - third) < 8


def test_a_log_without_a_loss_shows_the_other_curves_in_full(tmp_path: Path):
    picture = drawn(log_of(tmp_path / "log.jsonl", [entry(s, ("val_miou",), 0.5) for s in range(100, 600, 100)]))
    columns = np.flatnonzero((np.abs(picture.astype(int) - ORANGE) < 30).all(axis=2)[:, -520:].any(axis=0))
    assert np.ptp(columns) > 300


def test_a_step_that_was_run_twice_counts_as_it_was_run_last(tmp_path: Path):
    first = [entry(s, TRAIN + VAL, 0.1) for s in (10, 20, 30)]
    again = [entry(s, TRAIN + VAL, 0.9) for s in (20, 30)]
    twice = drawn(log_of(tmp_path / "twice.jsonl", first + again))
    assert np.array_equal(twice, drawn(log_of(tmp_path / "once.jsonl", first[:1] + again)))


@pytest.mark.parametrize(
    "torn", ['{"step": 40, "lo', '{"step": 40, "lo{"step": 50, "loss": 9}\n', "[1]\n7\nnull\n{}\n", "\n"]
)
def test_a_torn_line_is_passed_over(tmp_path: Path, torn: str):
    entries = [entry(s, TRAIN + VAL) for s in (10, 20, 30)]
    whole = drawn(log_of(tmp_path / "whole.jsonl", entries))
    assert np.array_equal(drawn(log_of(tmp_path / "torn.jsonl", entries, torn)), whole)


def test_what_is_not_finite_or_not_a_number_is_left_out(tmp_path: Path):
    entries = [entry(s, TRAIN + VAL) for s in (10, 20, 30)]
    whole = drawn(log_of(tmp_path / "whole.jsonl", entries))
    odd = [
        entry(40, TRAIN, math.nan),
        entry(50, VAL, math.inf),
        {"step": 60, "loss": "high"},
        {"step": 70, "loss": None},
    ]
    assert np.array_equal(drawn(log_of(tmp_path / "odd.jsonl", entries + odd)), whole)


@pytest.mark.parametrize("entries", [[], [entry(10, ())], [entry(10, TRAIN)], [entry(10, VAL)]])
def test_a_log_that_has_hardly_begun_is_drawn(tmp_path: Path, entries: list[dict[str, Any]]):
    picture = drawn(log_of(tmp_path / "log.jsonl", entries))
    assert picture.shape[1] > 3 * picture.shape[0] > 900


def test_thousands_of_entries_are_smoothed(tmp_path: Path):
    noise = np.random.default_rng(0).uniform(0, 1, 5000)
    picture = drawn(log_of(tmp_path / "log.jsonl", [entry(s, ("loss",), float(v)) for s, v in enumerate(noise)]))
    rows = np.flatnonzero(
        (np.abs(picture.astype(int) - BLUE) < 30).all(axis=2)[80:, : picture.shape[1] // 3].any(axis=1)
    )
    assert np.ptp(rows) < 80  # around a half, where the noise itself goes from 0 to 1 over some 350 pixels


def test_epochs_change_the_axis(tmp_path: Path):
    log = log_of(tmp_path / "log.jsonl", [entry(s, TRAIN + VAL) for s in (10, 20, 30)])
    assert not np.array_equal(drawn(log), drawn(log, steps_per_epoch=7.5))


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path):
    log = log_of(tmp_path / "log.jsonl", [entry(10, TRAIN)])
    with pytest.raises(OutputError, match=r"absent/curves\.png cannot be written"):
        draw_curves(log, tmp_path / "absent" / "curves.png")
