"""How many masks that were damaged on purpose `pixelwise audit` puts first.

A share of the masks of a split is damaged in memory, each in one of five ways in turn; the audit ranks all photos.
AUROC is the share of pairs of a damaged and a sound mask in which the damaged one ranks first: 0.5 is chance. Masks
that are called sound are as the dataset has them, its own mistakes included.

`--write DIR` writes the dataset with its damaged masks instead, for a model that learns from them: the same seed
damages the same masks in the same way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain, cycle
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from _common import Report, parser, table, versions
from pixelwise import load
from pixelwise.audit import Auditor, audit
from pixelwise.data import Dataset, Sample, open_dataset, recognise, splits
from pixelwise.labels import ClassTable
from pixelwise.masks import write_mask

Mask = NDArray[np.uint8]
_SMALLEST = 0.001  # of the photo: what counts as an object that somebody forgot


def _shifted(mask: Mask, pixels: int) -> Mask:
    return np.roll(mask, (pixels, pixels), (0, 1))


def _swapped(mask: Mask, ignored: int) -> Mask:
    """The two largest classes, one for the other."""
    ids, counts = np.unique(mask[mask != ignored], return_counts=True)
    order = ids[np.argsort(-counts)]
    return mask if len(order) < 2 else np.where(mask == order[0], order[1], np.where(mask == order[1], order[0], mask))


def _without_an_object(mask: Mask, ignored: int, has_background: bool) -> Mask:
    """A connected region, the one of middling size, becomes what most of its rim is."""
    from scipy import ndimage

    regions = []
    for i in np.unique(mask):
        if i == ignored or (i == 0 and has_background):
            continue
        found, count = ndimage.label(mask == i)
        sizes = np.bincount(found.ravel())
        regions += [(int(sizes[n]), found == n) for n in range(1, count + 1) if sizes[n] >= _SMALLEST * mask.size]
    if not regions:
        return mask
    region = sorted(regions, key=lambda each: each[0])[len(regions) // 2][1]
    rim = mask[ndimage.binary_dilation(region, iterations=8) & ~region]
    rim = rim[rim != ignored]
    return np.where(region, np.bincount(rim).argmax() if len(rim) else ignored, mask).astype(np.uint8)


def _of_another(mask: Mask, other: Mask) -> Mask:
    return np.asarray(Image.fromarray(other).resize(mask.shape[::-1], Image.Resampling.NEAREST))


def _damages(classes: ClassTable) -> dict[str, Callable[[Mask, Mask], Mask]]:
    """A mask, and one of another photo -> the damaged mask, by what to call it."""
    ignored, background = classes.ignore_index, classes.has_background
    return {
        "another photo's mask": _of_another,
        "two classes swapped": lambda mask, other: _swapped(mask, ignored),
        "shifted by 40 pixels": lambda mask, other: _shifted(mask, 40),
        "shifted by 10 pixels": lambda mask, other: _shifted(mask, 10),
        "one object missing": lambda mask, other: _without_an_object(mask, ignored, background),
    }


class Damaged:
    """A dataset in which some masks are not what they were; `how` names the damage by position."""

    def __init__(self, whole: Dataset, how: dict[int, str]) -> None:
        self.whole, self.how = whole, how
        self.classes, self.split, self.ids = whole.classes, whole.split, list(whole.ids)

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Sample:
        sample = self.whole[index]
        return Sample(sample.image, self._damaged(sample.mask, index), sample.id)

    def mask(self, index: int) -> Mask:
        """The mask alone, damaged or not."""
        return self._damaged(self.whole.mask(index), index)

    def _damaged(self, mask: Mask, index: int) -> Mask:
        if index not in self.how:
            return mask
        other = self.whole.mask((index + len(self.whole) // 2) % len(self.whole))
        return _damages(self.classes)[self.how[index]](mask, other).astype(np.uint8)


def damage(dataset: Dataset, share: float, seed: int) -> Damaged:
    """Choose masks at random, and for each a damage in turn; one that leaves a mask as it is, is passed over."""
    kinds = cycle(_damages(dataset.classes))
    how: dict[int, str] = {}
    kind = next(kinds)
    for index in np.random.default_rng(seed).permutation(len(dataset)).tolist():
        if len(how) == round(share * len(dataset)):
            break
        mask = dataset.mask(index)
        if not np.array_equal(Damaged(dataset, {index: kind}).mask(index), mask):
            how[index] = kind
            kind = next(kinds)
    return Damaged(dataset, how)


def write(root: Path, dataset: Dataset) -> None:
    """One split as a folder of PNGs, and dataset.yaml."""
    for kind in ("images", "masks"):
        (root / kind / dataset.split).mkdir(parents=True)
    for index in range(len(dataset)):
        sample = dataset[index]
        Image.fromarray(sample.image).save(root / "images" / dataset.split / f"{sample.id}.png")
        write_mask(root / "masks" / dataset.split / f"{sample.id}.png", sample.mask, dataset.classes)
    names = {"names": list(dataset.classes.names), "ignore_index": dataset.classes.ignore_index}
    (root / "dataset.yaml").write_text(yaml.safe_dump(names), encoding="utf-8")


def main() -> None:
    options = _options()
    layout = recognise(options.data)
    damaged = damage(open_dataset(layout, options.data, options.split, {}), options.share, options.seed)
    if options.write:
        for split in splits(layout, options.data):
            is_it = split == options.split
            write(options.write, damaged if is_it else open_dataset(layout, options.data, split, {}))
        print(f"{len(damaged.how)} of {len(damaged)} masks of {options.split} are damaged -> {options.write}")
        return
    report = Report(options, versions("pixelwise", "cleanlab", "numpy", "openvino"))
    found = audit(Auditor(load(options.model, engine="openvino"), damaged.classes), damaged)
    rank = {photo.id: i for i, photo in enumerate(found.photos)}
    by_kind: dict[str, list[int]] = {kind: [] for kind in _damages(damaged.classes)}
    for index, kind in damaged.how.items():
        by_kind[kind].append(rank[damaged.ids[index]])
    bad = sorted(chain(*by_kind.values()))
    good = np.array(sorted(set(rank.values()) - set(bad)))
    rows, figures = [], {}
    for kind, ranks in [*by_kind.items(), ("all", bad)]:
        area = float(np.mean([(good > each).mean() for each in ranks])) if ranks else float("nan")
        first, twice = (sum(each < times * len(bad) for each in ranks) for times in (1, 2))
        figures[kind] = {"ranks": sorted(ranks), "auroc": area, "among_the_first_k": first, "first_2k": twice}
        rows.append([kind, len(ranks), f"{area:.3f}", first, twice])
    report.figures = figures
    headings = ["damage", "masks", "AUROC", f"among the first {len(bad)}", f"first {2 * len(bad)}"]
    report.show(f"{len(bad)} of {len(rank)} masks damaged.", table(headings, rows))
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, default=Path("examples/nuclei"), help="the dataset's directory")
    made.add_argument("--split", default="train", help="the split to damage and audit (default train)")
    made.add_argument("--model", default="default", help="a name or a model's directory")
    made.add_argument("--share", type=float, default=0.1, help="of the masks to damage (default 0.1)")
    made.add_argument("--seed", type=int, default=0, help="which masks, in which way (default 0)")
    made.add_argument("--write", type=Path, metavar="DIR", help="write the damaged dataset and stop")
    return made.parse_args()


if __name__ == "__main__":
    main()
