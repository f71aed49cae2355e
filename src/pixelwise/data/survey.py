"""What the masks of a folder hold, counted: the evidence from which `pixelwise.data.detection` tells their encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.decoding import Source
from pixelwise.errors import DataError, MaskError
from pixelwise.labels import Colour
from pixelwise.masks import RawMask, read_raw_mask

ALWAYS_READ, READ_BYTES = 400, 32 << 20
"""Of more masks than these many, and these many bytes together, a seeded sample is read: a few seconds' work."""

_GREY = 0x010101
_FEW_COLOURS = 64  # more are smear

Keys = NDArray[np.uint32]
"""Stored values, or colours packed as 0xRRGGBB."""


def pack(colours: NDArray[Any]) -> Keys:
    """Colours uint8 (..., 3) as uint32 (...), 0xRRGGBB."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    packed: Keys = red << np.uint32(16) | green << np.uint32(8) | blue
    return packed


def unpack(keys: NDArray[Any]) -> NDArray[np.int64]:
    """The inverse of `pack`, int64 (..., 3)."""
    wide = np.asarray(keys).astype(np.int64)
    return np.stack([wide >> 16 & 255, wide >> 8 & 255, wide & 255], axis=-1)


def colour_of(key: int) -> Colour:
    """One packed colour unpacked."""
    return key >> 16 & 255, key >> 8 & 255, key & 255


def runs(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The runs of equal neighbours in a flat array: the value of each and its length. Masks have few."""
    flat = keys.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.zeros(0, np.int64)
    return flat[starts], np.diff(starts, append=flat.size)


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """How often each key occurs: sorted uint32 (K,), and int64 (K,) pixels."""

    keys: Keys
    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, keys: NDArray[Any], pixels: NDArray[np.int64] | None = None) -> Tally:
        """Count keys, each standing for so many pixels; for a whole mask leave `pixels` out."""
        if pixels is None:
            keys, pixels = runs(keys)
        distinct, inverse = np.unique(keys, return_inverse=True)
        counted = np.bincount(inverse, weights=pixels, minlength=len(distinct)).astype(np.int64)
        return cls(distinct.astype(np.uint32), counted)

    @classmethod
    def total(cls, tallies: Sequence[Tally]) -> Tally:
        """The sum of several."""
        return cls.of(np.concatenate([t.keys for t in tallies]), np.concatenate([t.pixels for t in tallies]))

    def mapped(self, table: NDArray[np.uint32]) -> Tally:
        """The same with each key replaced by its entry in a table."""
        return Tally.of(table[self.keys], self.pixels)

    def get(self, keys: NDArray[Any]) -> NDArray[np.int64]:
        """How often each of some keys occurs, zero where it does not."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.pixels[at], 0)


@dataclass(frozen=True, slots=True, eq=False)
class FileTally:
    """What one mask holds.

    Attributes:
        name: what messages call it: its file.
        colour: whether `all` and `inner` count packed colours rather than values.
        all: every pixel.
        inner: pixels whose four neighbours have the same key; what JPEG or resampling smears lies at edges.
        steps: pairs of unlike neighbours in a row, and those of them that differ by at most 2; of values only.
        palette: uint32 (N,) packed colours of the values, where the file has such.
        alpha: the opacity, where the file has such.
    """

    name: str
    colour: bool
    all: Tally
    inner: Tally
    steps: tuple[int, int]
    palette: Keys | None
    alpha: Tally | None


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What all masks hold.

    Attributes:
        kind: "value", "colour" (`files` then count packed colours throughout) or "alpha".
        files: one entry a mask that was read.
        total: their sum.
        inner: the sum of their inner pixels.
        palette: colours of the values, where all files agree on them.
        notes: what the user should know about how this was counted.
    """

    kind: str
    files: list[FileTally]
    total: Tally
    inner: Tally
    palette: dict[int, Colour] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def survey_masks(paths: Sequence[Path]) -> Survey:
    """Read masks, or a seeded sample of very many, and count what they hold.

    Args:
        paths: the masks.

    Raises:
        DataError: a mask holds several pages, or none can be read.
    """
    chosen = _sample(paths)
    return survey_sources([(str(path), path) for path in chosen], among=len(paths))


def survey_sources(masks: Iterable[tuple[str, Source]], *, among: int) -> Survey:
    """Count what masks hold, wherever they come from.

    Args:
        masks: what messages call each, and where it is read from.
        among: how many there are, of which these may be a sample.

    Raises:
        DataError: a mask holds several pages, or none can be read.
    """
    files, failures = [], []
    for name, source in masks:
        try:
            files.append(_count(name, read_raw_mask(source, name=name)))
        except MaskError as error:
            failures.append(error)
    count = len(files) + len(failures)
    notes = [f"{count} of {among} masks were looked at"] if count < among else []
    if failures:
        if not files:
            raise DataError(f"None of the {count} masks can be read; the first: {failures[0]}") from failures[0]
        notes.append(f"{len(failures)} of them could not be read; the first: {failures[0]}".rstrip("."))
    return _combined(files, notes)


def _sample(paths: Sequence[Path]) -> list[Path]:
    order = np.random.default_rng(0).permutation(len(paths))
    read = np.cumsum([paths[i].stat().st_size for i in order])
    count = max(ALWAYS_READ, int((read <= READ_BYTES).sum()))
    return [paths[i] for i in sorted(order[:count].tolist())]


def _count(name: str, raw: RawMask) -> FileTally:
    if raw.pages:
        raise DataError(
            f"{name} holds several pages; pixelwise reads one photo or mask a file. `pixelwise doctor DIR --fix COPY` "
            "makes a copy in which each page is a file, if all are of one size; else save the first page alone."
        )
    samples = raw.samples
    colour = samples.ndim == 3
    if colour and (samples[..., 0] == samples[..., 1]).all() and (samples[..., 0] == samples[..., 2]).all():
        samples, colour = samples[..., 0], False  # grey, stored three times
    keys = pack(samples) if colour else samples
    centre = keys[1:-1, 1:-1]
    same = (centre == keys[:-2, 1:-1]) & (centre == keys[2:, 1:-1])
    same &= (centre == keys[1:-1, :-2]) & (centre == keys[1:-1, 2:])
    return FileTally(
        name=name,
        colour=colour,
        all=Tally.of(keys),
        inner=Tally.of(centre[same]),
        steps=(0, 0) if colour else _steps(samples),
        palette=None if raw.palette is None else pack(raw.palette),
        alpha=None if raw.alpha is None else Tally.of(raw.alpha),
    )


def _steps(values: NDArray[Any]) -> tuple[int, int]:
    change = np.abs(np.diff(runs(values)[0].astype(np.int64)))
    return len(change), int((change <= 2).sum())


def _combined(files: list[FileTally], notes: list[str]) -> Survey:
    opacity = [file.alpha for file in files if file.alpha is not None]
    if opacity and len((total := Tally.total(opacity)).keys) > 1:
        constant = {tuple(file.all.keys.tolist()) for file in files}
        if len(opacity) == len(files) and len(constant) == 1 and len(next(iter(constant))) == 1:
            read = [FileTally(f.name, False, t, t, (0, 0), None, None) for f, t in zip(files, opacity, strict=True)]
            return Survey("alpha", read, total, total, notes=tuple(notes))
        some = f"the opacity of {len(opacity)} of them" if len(opacity) < len(files) else "their opacity"
        notes.append(f"{some} was left aside")
    _check_grey(files)
    palette = _common_palette(files)
    if any(file.colour for file in files) or palette is None:
        files = [_in_colour(file) for file in files]
        kind, palette = "colour", {}
    else:
        kind = "value"
    total, inner = Tally.total([file.all for file in files]), Tally.total([file.inner for file in files])
    return Survey(kind, files, total, inner, palette, tuple(notes))


def _check_grey(files: list[FileTally]) -> None:
    """Refuse grey masks that seem to hold ids beside ones with a palette or in a few colours, as which they differ."""
    grey = [file for file in files if file.palette is None and not file.colour]
    if not grey:
        return
    values = Tally.total([file.all for file in grey]).keys
    as_colours = values * np.uint32(_GREY)
    indexed = [file for file in files if file.palette is not None]
    if indexed:
        ids = Tally.total([file.all for file in indexed]).keys
        colours = Tally.total([_in_colour(file).all for file in indexed]).keys
        if np.isin(values, ids).all() and not np.isin(as_colours, colours).all():
            raise DataError(
                f"{grey[0].name} is grey and {indexed[0].name} has a palette; the grey values may be its ids, or "
                "colours. If they are ids, state `mapping:` in dataset.yaml, such as `{0: background, 1: road}`; else "
                "save all masks in one way."
            )
    coloured = [file for file in files if file.colour]
    if coloured:
        colours = Tally.total([file.all for file in coloured]).keys
        like_ids = 0 < values[-1] < len(colours) <= _FEW_COLOURS
        if like_ids and not np.isin(as_colours, colours).all():
            raise DataError(
                f"{grey[0].name} is grey and {coloured[0].name} in colour; the grey values {values[0]} to {values[-1]} "
                "seem to be class ids. Save all masks in one way."
            )


def _common_palette(files: list[FileTally]) -> dict[int, Colour] | None:
    """The colours of the indices in use; none where there are no palettes, None where the files disagree."""
    palettes = [file.palette for file in files]
    if all(palette is None for palette in palettes):
        return {}
    common: dict[int, int] = {}
    for file, palette in zip(files, palettes, strict=True):
        if palette is None:
            return None
        for index in file.all.keys.tolist():
            colour = int(palette[index]) if index < len(palette) else 0
            if common.setdefault(index, colour) != colour:
                return None
    return {index: colour_of(colour) for index, colour in common.items()}


def _in_colour(file: FileTally) -> FileTally:
    if file.colour:
        return file
    table = colours_of_values(file.palette)
    if file.all.keys.max(initial=0) >= len(table):
        raise DataError(f"{file.name} has 16 bits, while other masks beside it are in colour; use one kind for all.")
    return FileTally(file.name, True, file.all.mapped(table), file.inner.mapped(table), (0, 0), None, file.alpha)


def colours_of_values(palette: Keys | None) -> Keys:
    """The packed colour of each of the values 0 to 255: that of the palette, or grey."""
    if palette is None:
        return np.arange(256, dtype=np.uint32) * np.uint32(_GREY)
    return np.pad(palette[:256], (0, max(0, 256 - len(palette))))
