from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.data.sample import Sample
from pixelwise.errors import DataError, ImageError, MaskError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "photos" / "chelsea.png"
SIZE = (24, 32)  # (H, W)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": None}


def crops(count: int, values: tuple[int, ...] = (0, 1, 2, 255)) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pieces of a real photo, each with a mask of bars that begins with another value."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    height, width = SIZE
    pairs = []
    for at in range(count):
        piece = photo[7 * at : 7 * at + height, 5 * at : 5 * at + width]
        mask = np.resize(np.repeat(np.roll(values, at), 8).astype(np.uint8), (height, width))
        pairs.append((piece, mask))
    return pairs


def rows_of(pairs: list[tuple[np.ndarray, np.ndarray]], image: str = "image", mask: str = "label") -> dict[str, Any]:
    return {image: [encoded(photo) for photo, _ in pairs], mask: [encoded(labels) for _, labels in pairs]}


def write_parquet(path: Path, rows: dict[str, Any], *, group: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), path, row_group_size=group)


def saved(rows: dict[str, Any], **features: Any) -> Any:
    """A dataset of `datasets` itself, the reference for what is read here."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    kinds = datasets.Features({name: features.get(name, datasets.Image()) for name in rows})
    return datasets.Dataset.from_dict(rows, features=kinds)


def check(sample: Sample, pair: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(sample.image, pair[0])
    np.testing.assert_array_equal(sample.mask, pair[1])


def test_a_saved_dict_is_read_as_datasets_reads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    whole = saved(rows_of(crops(9)))
    parts = {"train": whole.select([4, 0, 7, 2]), "validation": whole.select([1, 3]), "test": whole.select([8])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d", num_shards={"train": 3, "validation": 1, "test": 1})
    assert recognise(tmp_path / "d") == "huggingface"
    assert splits("huggingface", tmp_path / "d") == ["train", "validation", "test"]
    assert training_splits("huggingface", tmp_path / "d") == ("train", "validation")
    for name, part in datasets.load_from_disk(tmp_path / "d").items():
        dataset = open_dataset("huggingface", tmp_path / "d", name)
        assert len(dataset) == len(part)
        assert dataset.classes.names == ("background", "class 1", "class 2")
        for at in range(len(part)):
            check(dataset[at], (np.asarray(part[at]["image"]), np.asarray(part[at]["label"])))


def test_a_single_dataset_is_divided(tmp_path: Path) -> None:
    pairs = crops(10)
    saved(rows_of(pairs, "pixel_values", "segmentation_mask")).save_to_disk(tmp_path)
    assert splits("huggingface", tmp_path) == ["train", "val"]
    train, val = (open_dataset("huggingface", tmp_path, name) for name in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    assert not set(train.ids) & set(val.ids)
    for dataset in (train, val):
        for at, name in enumerate(dataset.ids):
            check(dataset[at], pairs[int(name.removeprefix("train-"))])


def test_names_come_from_a_list_of_class_ids_with_a_background(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    kinds = {
        "objects": {"category": datasets.Sequence(datasets.ClassLabel(names=["background", "cat", "dog", "cow"]))},
        "scene": datasets.ClassLabel(names=["indoors", "outdoors", "both", "neither"]),
    }
    rows = {**rows_of(crops(6)), "objects": [{"category": [1, 2]}] * 6, "scene": [0] * 6}
    saved(rows, **kinds).save_to_disk(tmp_path / "saved")
    assert open_dataset("huggingface", tmp_path / "saved", "train").classes.names == ("background", "cat", "dog", "cow")
    saved(rows, **kinds).to_parquet(tmp_path / "hub" / "train.parquet")
    assert open_dataset("huggingface", tmp_path / "hub", "train").classes.names == ("background", "cat", "dog", "cow")
    del rows["objects"]
    saved(rows, **kinds).save_to_disk(tmp_path / "scene")
    assert open_dataset("huggingface", tmp_path / "scene", "train").classes.names == (
        "background",
        "class 1",
        "class 2",
    )


@pytest.mark.parametrize("folder", ["", "data"])
def test_parquet_shards_over_several_row_groups(tmp_path: Path, folder: str) -> None:
    pairs = crops(8)
    for at, part in enumerate((pairs[:5], pairs[5:])):
        write_parquet(tmp_path / folder / f"train-{at:05}-of-00002-0123456789abcdef.parquet", rows_of(part))
    write_parquet(tmp_path / folder / "validation.parquet", rows_of(pairs[:1]))
    assert recognise(tmp_path) == "huggingface"
    dataset = open_dataset("huggingface", tmp_path, "train")
    for at in (7, 0, 4, 5, 3):
        check(dataset[at], pairs[at])
        np.testing.assert_array_equal(dataset.mask(at), pairs[at][1])


def test_parquet_as_the_hub_converts_it(tmp_path: Path) -> None:
    pairs = crops(4)
    write_parquet(tmp_path / "train" / "0000.parquet", rows_of(pairs[:2]))
    write_parquet(tmp_path / "train" / "0001.parquet", rows_of(pairs[2:3]))
    write_parquet(tmp_path / "test" / "0000.parquet", rows_of(pairs[3:]))
    assert splits("huggingface", tmp_path) == ["test", "train", "val"]
    check(open_dataset("huggingface", tmp_path, "test")[0], pairs[3])


def test_masks_of_two_values_and_plain_bytes(tmp_path: Path) -> None:
    rows = {name: [cell["bytes"] for cell in cells] for name, cells in rows_of(crops(3, (0, 255))).items()}
    write_parquet(tmp_path / "train.parquet", rows)
    dataset = open_dataset("huggingface", tmp_path, "train")
    assert dataset.classes.names == ("background", "object")
    assert np.unique(dataset.mask(0)).tolist() == [0, 1]


def test_id2label_names_the_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of(crops(3)))
    path = tmp_path / "id2label.json"
    path.write_text(json.dumps({"0": "sky", "1": "sea", "2": "sand", "3": "rock", "255": "void"}))
    assert open_dataset("huggingface", tmp_path, "train").classes.names == ("sky", "sea", "sand", "rock")
    path.write_text(json.dumps({"0": "sky", "2": "sea"}))
    with pytest.raises(DataError, match="ids 0 to 1 a name of its own"):
        open_dataset("huggingface", tmp_path, "train")


def test_dataset_yaml_states_what_masks_mean(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of(crops(3)))
    (tmp_path / "dataset.yaml").write_text("mapping: {0: sky, 1: ground, 2: ground, 255: ignore}")
    dataset = open_dataset("huggingface", tmp_path, "train")
    assert dataset.classes.names == ("sky", "ground")
    assert np.unique(dataset.mask(0)).tolist() == [0, 1, 255]
    (tmp_path / "dataset.yaml").write_text("splits: {val: [a]}")
    with pytest.raises(DataError, match="are about folders"):
        open_dataset("huggingface", tmp_path, "train")


def test_columns_are_chosen_by_option_where_several_fit(tmp_path: Path) -> None:
    rows = {**rows_of(crops(3)), "mask": rows_of(crops(3, (0, 1)))["label"], "width": [32] * 3}
    write_parquet(tmp_path / "train.parquet", rows)
    with pytest.raises(DataError, match=r"clearly of masks.*width \(int64\).*option `mask`: image, label, mask"):
        open_dataset("huggingface", tmp_path, "train")
    assert len(open_dataset("huggingface", tmp_path, "train", {"mask": "mask"}).classes) == 2
    assert len(open_dataset("huggingface", tmp_path, "train", {"mask": "label"}).classes) == 3
    for wrong in ("width", "nothing"):
        with pytest.raises(DataError, match=f"has not the column {wrong} of pictures"):
            open_dataset("huggingface", tmp_path, "train", {"mask": wrong})


def test_a_column_that_one_file_lacks(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of(crops(3)))
    write_parquet(tmp_path / "val.parquet", {"image": rows_of(crops(2))["image"]})
    with pytest.raises(DataError, match=r"no pictures under label|clearly of masks"):
        open_dataset("huggingface", tmp_path, "train")


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    rows = rows_of(crops(5))
    rows["image"][0]["bytes"] = rows["image"][0]["bytes"][:200]
    rows["label"][1]["bytes"] = rows["label"][1]["bytes"][:60]
    rows["label"][2] = encoded(np.zeros((5, 6), np.uint8))
    rows["label"][3] = {"bytes": None, "path": None}
    write_parquet(tmp_path / "train.parquet", rows)
    write_parquet(tmp_path / "val.parquet", rows_of(crops(1)))
    dataset = open_dataset("huggingface", tmp_path, "train")
    for row, kind, words in (
        (0, ImageError, "image in row 0 of .*train.parquet cannot be decoded"),
        (1, MaskError, "label in row 1 of .*cannot be decoded"),
        (2, DataError, "label in row 2 of .* is 6x5 pixels, but its photo is 32x24"),
        (3, MaskError, "label in row 3 of .* is empty"),
    ):
        with pytest.raises(kind, match=words):
            dataset[row]
    check(dataset[4], crops(5)[4])


def test_paths_in_place_of_pictures_are_not_followed(tmp_path: Path) -> None:
    rows = rows_of(crops(3))
    rows["label"][2] = {"bytes": None, "path": str(PHOTO)}
    write_parquet(tmp_path / "train.parquet", rows)
    with pytest.raises(DataError, match=r"Row 2 of .* has the path of a picture under label"):
        open_dataset("huggingface", tmp_path, "train")


def test_files_that_are_missing_or_cut_short(tmp_path: Path) -> None:
    shard = tmp_path / "hub" / "train-00000-of-00002.parquet"
    write_parquet(shard, rows_of(crops(3)))
    with pytest.raises(DataError, match="one of 2 files, of which 1 are there"):
        open_dataset("huggingface", tmp_path / "hub", "train")
    whole = tmp_path / "cut" / "train.parquet"
    write_parquet(whole, rows_of(crops(3)))
    for content in (whole.read_bytes()[:500], b"version https://git-lfs.github.com/spec/v1\n", b""):
        whole.write_bytes(content)
        with pytest.raises(DataError, match=r"train.parquet cannot be read .*git lfs pull"):
            open_dataset("huggingface", tmp_path / "cut", "train")


def test_a_saved_dataset_that_is_cut_short(tmp_path: Path) -> None:
    saved(rows_of(crops(4))).save_to_disk(tmp_path)
    arrow = next(tmp_path.glob("*.arrow"))
    content = arrow.read_bytes()
    arrow.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset("huggingface", tmp_path, "train")
    arrow.unlink()
    with pytest.raises(DataError, match="is missing"):
        open_dataset("huggingface", tmp_path, "train")
    (tmp_path / "state.json").write_text("[")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        open_dataset("huggingface", tmp_path, "train")


def test_lists_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": 5}')
    with pytest.raises(DataError, match=r"dataset_dict\.json lists no `splits`"):
        splits("huggingface", tmp_path)
    (tmp_path / "dataset_dict.json").unlink()
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "state.json").write_text('{"_data_files": [], "_split": "train"}')
    with pytest.raises(DataError, match="lists no file of rows"):
        open_dataset("huggingface", tmp_path, "train")


def test_without_pyarrow_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of(crops(3)))
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\nfrom pixelwise.data import open_dataset, splits\n"
        f"root = Path({str(tmp_path)!r})\nprint(splits('huggingface', root))\n"
        "try: open_dataset('huggingface', root, 'train')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "['train', 'val']"
    assert "DataError" in done.stdout
    assert "pip install 'pixelwise[huggingface]'" in done.stdout


def test_real_masks_of_nuclei(tmp_path: Path, shared_data: Path) -> None:
    masks = sorted((shared_data / "nuclei" / "masks" / "val").iterdir())[:6]
    arrays = [np.asarray(Image.open(path).convert("L")) for path in masks]
    photos = [np.repeat(array[:, :, None], 3, axis=2) for array in arrays]
    write_parquet(tmp_path / "train.parquet", rows_of(list(zip(photos, arrays, strict=True))))
    dataset = open_dataset("huggingface", tmp_path, "train")
    assert dataset.classes.names == ("background", "object")
