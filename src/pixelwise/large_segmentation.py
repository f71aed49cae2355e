"""Large photos segmented in memory that does not grow with them, and continued where a kill ended it.

The mask grows in a file of its bytes in a scratch directory beside the results, row of tiles by row of tiles. After
each, what has been counted so far is written down. The results are then drawn from the file, in the same directory, and
moved to their places when the last of them is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.files import write_atomically
from pixelwise.geotiff import TILE, write_geotiff
from pixelwise.images import ON_WHITE
from pixelwise.labels import ClassShare, ClassTable
from pixelwise.large_photo import LargePhoto
from pixelwise.panel import panel
from pixelwise.picture_streams import write_jpeg, write_mask_png
from pixelwise.render import JPEG_LONGEST_SIDE, overlay_strips, write_picture
from pixelwise.rows import FileRows
from pixelwise.segmentation import SUFFIXES, TIFF_SUFFIXES, Tally, describe, encode_json
from pixelwise.segmenter import Advance, Piece, Segmenter

_MASK, _STATE = "mask", "state"  # results have suffixes
_SEGMENTING = 0.8  # of the time that a photo takes, about


def suffixes(photo: LargePhoto) -> Mapping[str, str]:
    """What the results of a photo are called: those of a TIFF, and what JPEG cannot hold, are TIFFs."""
    if photo.is_tiff:
        return SUFFIXES | TIFF_SUFFIXES
    too_long = max(photo.height, photo.width) > JPEG_LONGEST_SIDE
    return SUFFIXES | ({"overlay": TIFF_SUFFIXES["overlay"]} if too_long else {})


@dataclass(frozen=True, slots=True)
class _State:
    """How far a photo is.

    Attributes:
        key: of the photo, the model and the settings.
        rows: of tiles, done.
        pixels: of each class in them; see `Tally`.
        confidence: likewise.
        transparent: whether some of the photo is shown on white.
    """

    key: str
    rows: int
    pixels: list[int]
    confidence: list[float]
    transparent: bool = False

    def tally(self, classes: ClassTable) -> Tally:
        tally = Tally(classes)
        tally.pixels[:], tally.confidence[:] = self.pixels, self.confidence
        return tally


@dataclass(frozen=True, eq=False)
class LargeSegmentation:
    """One segmented large photo, whose mask is in a scratch directory.

    Attributes:
        photo: where it comes from.
        table: names and colours of all classes that the model knows.
        scratch: the directory.
        classes: found, the largest first.
        notes: what was done to the photo while reading it.
    """

    photo: LargePhoto
    table: ClassTable
    scratch: Path
    classes: tuple[ClassShare, ...]
    notes: tuple[str, ...]

    def save(self, paths: Mapping[str, Path], *, opacity: float, advance: Advance = lambda share: None) -> None:
        """Write what `Segmentation.save` writes, whose pixels are the same, and remove the scratch directory.

        Args:
            paths: of the files, by what they are; what is there is replaced.
            opacity: as for `Segmentation.overlay`.
            advance: called with shares of the photo, which add up to what segmenting it left.

        Raises:
            ImageError: the photo was damaged meanwhile.
            OutputError: a file cannot be written.
        """
        drawn = [kind for kind in paths if kind in ("overlay", "panel")]
        with _on_disk(self.scratch), (self.scratch / _MASK).open("rb") as mask:
            whole = {path: self.scratch / path.name for path in paths.values()}
            for kind, path in paths.items():
                self._write(kind, whole[path], opacity, lambda share: advance(share * (1 - _SEGMENTING) / len(drawn)))
                with whole[path].open("rb") as file:
                    os.fsync(file.fileno())
            _see_that_there(mask, self.scratch)
            for path, written in whole.items():
                written.replace(path)
            shutil.rmtree(self.scratch)

    def _write(self, kind: str, path: Path, opacity: float, advance: Advance) -> None:
        photo, table = self.photo, self.table
        mask = FileRows(self.scratch / _MASK, photo.height, photo.width)
        if kind == "json":
            name = Path(photo.name).name
            path.write_bytes(encode_json(describe(name, photo.height, photo.width, self.notes, self.classes)))
        elif kind == "panel":
            write_picture(path, panel(photo.open(advance), mask, table, self.classes, opacity=opacity))
        elif kind == "overlay":
            strips = overlay_strips(photo.open(advance), mask, table, opacity=opacity, rows=TILE)
            if path.suffix == ".tif":
                write_geotiff(path, photo, strips)
            else:
                write_jpeg(path, photo.height, strips)
        elif path.suffix == ".tif":
            ids = (mask[top : top + TILE] for top in range(0, photo.height, TILE))
            write_geotiff(path, photo, ids, classes=table)
        else:
            write_mask_png(path, mask, table)


def segment_large(
    segmenter: Segmenter,
    photo: LargePhoto,
    scratch: Path,
    *,
    key: str,
    resume: bool,
    advance: Advance = lambda share: None,
) -> LargeSegmentation:
    """Segment a photo by rows.

    Args:
        segmenter: the model.
        photo: from `pixelwise.large_photo.find_large`.
        scratch: a directory of that photo alone; it stays where the process is killed or the disk is full, and goes
            where the photo fails.
        key: of the photo, the model and the settings.
        resume: go on with what is in the directory, where that has the same key; otherwise it is removed.
        advance: called with shares of the photo, which leave some for `LargeSegmentation.save`.

    Raises:
        ImageError: the photo is damaged.
        EngineError: as for `Segmenter`.
        OutputError: the directory cannot be written to.
    """
    with _on_disk(scratch):
        state = _resumed(scratch, photo, key) if resume else None
        if state is None:
            state = _begin(scratch, photo, key, segmenter.classes)
        rows = segmenter.tile_rows(photo.height, photo.width)
        advance(_SEGMENTING * state.rows / rows)
        if state.rows < rows:
            state = _continue(segmenter, photo, scratch, state, lambda share: advance(_SEGMENTING * share))
    notes = (*photo.notes, ON_WHITE) if state.transparent else photo.notes
    return LargeSegmentation(photo, segmenter.classes, scratch, state.tally(segmenter.classes).classes(), notes)


def _begin(scratch: Path, photo: LargePhoto, key: str, classes: ClassTable) -> _State:
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir()
    with (scratch / _MASK).open("wb") as mask:
        mask.truncate(photo.height * photo.width)
    return _State(key, 0, [0] * len(classes), [0.0] * len(classes))


def _resumed(scratch: Path, photo: LargePhoto, key: str) -> _State | None:
    """Where the run of that key stands; None where there is none, or what it left is damaged."""
    try:
        state = _State(**json.loads((scratch / _STATE).read_bytes()))
        whole = (scratch / _MASK).stat().st_size == photo.height * photo.width
    except (OSError, ValueError, TypeError):
        return None
    return state if whole and state.key == key else None


def _continue(segmenter: Segmenter, photo: LargePhoto, scratch: Path, state: _State, advance: Advance) -> _State:
    """Segment the rows of tiles that are left."""
    tally, photo_rows = state.tally(segmenter.classes), photo.open()
    pieces = segmenter.pieces(photo_rows, first_row=state.rows, advance=advance)
    with (scratch / _MASK).open("r+b") as mask:
        for row, in_row in groupby(pieces, key=lambda piece: piece.row):
            for piece in in_row:
                _write_block(mask, photo.width, piece)
                tally.add(piece.mask, piece.confidence)
            mask.flush()
            os.fsync(mask.fileno())
            _see_that_there(mask, scratch)
            transparent = state.transparent or photo_rows.transparent
            state = _State(state.key, row + 1, tally.pixels.tolist(), tally.confidence.tolist(), transparent)
            write_atomically(scratch / _STATE, json.dumps(asdict(state)).encode())
    return state


def _see_that_there(mask: IO[bytes], scratch: Path) -> None:
    """Whoever begins the photo anew removes what there is: the mask of that name is another one then."""
    if not os.fstat(mask.fileno()).st_nlink:
        raise OutputError(f"{scratch} was removed by another run of the same photo; run one at a time.")


def _write_block(mask: IO[bytes], width: int, piece: Piece) -> None:
    rows, columns = piece.block
    for row, ids in zip(range(rows.start, rows.stop), piece.mask, strict=True):
        mask.seek(row * width + columns.start)
        mask.write(ids.data)


@contextmanager
def _on_disk(scratch: Path) -> Iterator[None]:
    """Say in a sentence what the disk refuses; and where the photo is to blame, remove what there is of its results."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or scratch} cannot be written: {error.strerror or error}.") from error
    except OutputError:
        raise
    except PixelwiseError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
