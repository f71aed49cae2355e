"""What is said of the data before a training, and the classes that are counted on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import Dataset, open_dataset
from pixelwise.data.sample import Sample
from pixelwise.errors import DataError, RecipeError
from pixelwise.labels import ClassTable

pytest.importorskip("torch")

from pixelwise.data.loader import class_pixels
from pixelwise.data_check import check_data, common_classes
from pixelwise.plan import Request, make
from pixelwise.watcher import Watcher
from small_runs import Listener, small_dataset


class InMemory:
    """A dataset that is no pairs of files."""

    def __init__(self, dataset: Dataset) -> None:
        self.classes, self.split, self.ids = dataset.classes, dataset.split, list(dataset.ids)
        self._samples = list(dataset)  # type: ignore[call-overload]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self._samples[index]
        return sample

    def mask(self, index: int) -> np.ndarray:
        return self[index].mask


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    small_dataset(tmp_path)
    return tmp_path / "voc"


def opened(voc: Path, split: str) -> Dataset:
    return open_dataset("voc", voc, split, check_files=False)


def test_the_classes_of_files_and_of_others_are_counted_in_the_order_of_the_data(voc: Path):
    train, val, watcher = opened(voc, "train"), opened(voc, "val"), Listener()
    sets: list[Dataset] = [InMemory(val), train]
    counted = check_data(sets, [val], watcher, root=voc)
    np.testing.assert_array_equal(counted, class_pixels(sets))
    assert watcher.totals == [10] == [watcher.done]  # six and two of files, two of memory


def test_all_that_is_wrong_is_counted_before_anything_is_chosen(voc: Path):
    (voc / "JPEGImages" / "chelsea1.jpg").unlink()
    (voc / "SegmentationClass" / "chelsea2.png").write_bytes(b"no picture")
    Image.fromarray(np.full((90, 120), 77, np.uint8)).save(voc / "SegmentationClass" / "chelsea0.png")
    with pytest.raises(DataError) as caught:
        make(Request(None, voc), processes=1, watcher=Watcher())
    message = str(caught.value)
    assert message.startswith("Training would fail: ")
    assert "chelsea1.jpg" in message
    assert f"And 2 more. `pixelwise doctor {voc}` shows all" in message


def test_warnings_are_said_and_stop_nothing(voc: Path):
    watcher = Listener()
    check_data([opened(voc, "train")], [opened(voc, "val")], watcher, root=voc)
    assert watcher.said[0] == "Warning: No photo shows the class aeroplane."
    assert watcher.said[-1] == f"And 14 more warnings; `pixelwise doctor {voc}` shows all, with pictures."
    assert len(watcher.said) == 5


CLASSES = ClassTable(("sky", "car"), ((0, 0, 0), (9, 9, 9)))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(CLASSES, names=("sky", "cat")), "class 1 is car in one and cat in another"),
        (
            ClassTable((*CLASSES.names, "cat"), (*CLASSES.colours, (5, 5, 5))),
            "class 2 is none in one and cat in another",
        ),
        (replace(CLASSES, ignore_index=2), "255 is ignored in one and 2 in another"),
        (replace(CLASSES, colours=((0, 0, 0), (8, 8, 8))), "the same names have different colours"),
    ],
)
def test_datasets_that_cannot_train_one_model_are_told_by_what_differs(voc: Path, other: ClassTable, message: str):
    one, another = InMemory(opened(voc, "train")), InMemory(opened(voc, "val"))
    one.classes, another.classes = CLASSES, CLASSES
    assert common_classes([one, another]) == CLASSES
    another.classes = other
    with pytest.raises(RecipeError, match=f"cannot train one model: {message}"):
        common_classes([one, another])
