"""From a photo to its segmentation: scale, pad, run the engine, and bring the answer back to the photo's own size.

Everything between the engine's logits and the mask happens in probabilities: those of flipped copies and of overlapping
tiles are averaged, and those of the network's resolution are interpolated to the photo's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.bundle import InputSpec
from pixelwise.decoding import DEFAULT_LIMITS, Limits, Source
from pixelwise.engine import Engine
from pixelwise.errors import EngineError, ImageError
from pixelwise.images import Photo, read_image
from pixelwise.interpolation import Box, around, decide, magnify
from pixelwise.labels import ClassTable
from pixelwise.rows import Rows
from pixelwise.scaling import shrink
from pixelwise.segmentation import Segmentation
from pixelwise.tiling import Block, Probabilities, Tiling, blend_tiles

Size = int | Literal["native"] | None
"""Longer side of what the network sees, in pixels: a number, the photo's own, or None for the model's."""

Advance = Callable[[float], None]
_ALL: Block = (slice(None), slice(None))


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a photo's answer.

    Attributes:
        row: the row of tiles that it belongs to, from 0.
        block: rows and columns of the photo.
        mask: uint8 (h, w) class ids of the block.
        confidence: float16 (h, w), their probabilities.
    """

    row: int
    block: Block
    mask: NDArray[np.uint8]
    confidence: NDArray[np.float16]


class Segmenter:
    """A model ready to segment photos.

    Args:
        engine: computes logits.
        classes: what they stand for.
        input_spec: what the network expects.
        size: longer side at which photos are shown to the network; see `Size`. More finds smaller things and takes
            longer, but far from the model's own size it no longer recognises what fills the photo.
        flip: average with the answer for the mirrored photo; twice the time, slightly better.
        tiling: how what is larger than one tile is cut.

    Raises:
        ValueError: the size is neither positive nor "native", or the tiling does not fit the network's size multiple.
    """

    def __init__(
        self,
        engine: Engine,
        classes: ClassTable,
        input_spec: InputSpec,
        *,
        size: Size = None,
        flip: bool = False,
        tiling: Tiling | None = None,
    ) -> None:
        if not (size == "native" if isinstance(size, str) else size is None or size > 0):
            raise ValueError(f'size is {size!r}; expected a positive number of pixels, "native" or None')
        tiling = tiling or _default_tiling(input_spec.size_multiple)
        if tiling.size % input_spec.size_multiple or tiling.overlap % input_spec.size_multiple:
            raise ValueError(f"tile size and overlap must be multiples of {input_spec.size_multiple}, the network's")
        self.engine, self.classes, self.input_spec = engine, classes, input_spec
        self.size, self.flip, self.tiling = size, flip, tiling
        self._mean = np.asarray(input_spec.mean, np.float32).reshape(3, 1, 1) * 255
        self._scale = 1 / (np.asarray(input_spec.std, np.float32).reshape(3, 1, 1) * 255)

    def __call__(
        self,
        source: Source | NDArray[np.uint8] | Photo,
        *,
        limits: Limits = DEFAULT_LIMITS,
        name: str | None = None,
        advance: Advance = lambda share: None,
    ) -> Segmentation:
        """Segment one photo.

        Args:
            source: a path, bytes, an open file, an array uint8 (H, W, 3) RGB, (H, W) grey or (H, W, 4) RGBA, or what
                `read_image` gave.
            limits: the largest photo accepted.
            name: what to call it in reports and messages.
            advance: as for `predict`.

        Raises:
            ImageError: it cannot be read.
            EngineError: the network's answer is not one that its class table explains.
        """
        photo = source if isinstance(source, Photo) else read_image(source, limits=limits, name=name)
        mask, confidence = self.predict(photo.pixels, advance=advance)
        name = name or Path(photo.name).name
        return Segmentation(photo.pixels, mask, confidence, self.classes, name, photo.notes)

    def predict(
        self, pixels: NDArray[np.uint8], *, advance: Advance = lambda share: None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Segment an array: uint8 (H, W, 3) RGB -> class ids uint8 (H, W), their probabilities float16 (H, W).

        `advance` is called after each tile with the share of the photo that it is, for a progress bar; the shares add
        up to one. What fits one tile is not worth a call.

        Raises:
            ImageError: the array is another one; a call of the segmenter takes grey and RGBA, too.
            EngineError: as for a call.
        """
        mask = np.empty(pixels.shape[:2], np.uint8)
        confidence = np.empty(pixels.shape[:2], np.float16)
        for piece in self.pieces(pixels, advance=advance):
            mask[piece.block], confidence[piece.block] = piece.mask, piece.confidence
        return mask, confidence

    def pieces(self, photo: Rows, *, first_row: int = 0, advance: Advance = lambda share: None) -> Iterator[Piece]:
        """Segment a photo of any size piece by piece: uint8 (H, W, 3) RGB, whose rows are read once, from the top down.

        Args:
            photo: an array, or what reads its rows from elsewhere.
            first_row: the row of tiles to begin with; the pieces of those above it are left out.
            advance: as for `predict`; rows that are left out do not advance it.

        Yields:
            pieces that cover each pixel exactly once, row of tiles by row of tiles; valid until the next is asked for.
            They are what `predict` answers.
        """
        height, width = photo.shape[:2]
        seen = self._seen(photo)
        if max(seen.shape[:2]) <= self.tiling.size:
            for top, mask, confidence in decide(self._probabilities(seen[:]), height, width, box=self._shown(seen)):
                yield Piece(0, (slice(top, top + len(mask)), slice(0, width)), mask, confidence)
            return
        for row, (rows, columns), box, values in self._tiles(seen, height, width, advance, first_row):
            strips = decide(values, rows.stop - rows.start, columns.stop - columns.start, box=box)
            for top, mask, confidence in strips:
                strip = slice(rows.start + top, rows.start + top + len(mask))
                yield Piece(row, (strip, columns), mask, confidence)

    def tile_rows(self, height: int, width: int) -> int:
        """How many rows of tiles a photo of that size takes."""
        seen = self._inner_size(height, width)
        return 1 if max(seen) <= self.tiling.size else len(self.tiling.spans(seen[0]))

    def network_input(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network is given of a photo, for calibration: uint8 (H, W, 3) RGB -> float32 (1, 3, h, w).

        Of a photo of several tiles it is the first.
        """
        side = self.tiling.size
        return self._batch(self._seen(pixels)[:side][:, :side])

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """How probable each class is at each pixel: uint8 (H, W, 3) RGB -> float32 (C, H, W), summing to one over C.

        The greatest of a pixel is what `predict` answers there. Takes 4 bytes a class and pixel: 1 GB for 21 classes
        and 12 megapixels.
        """
        height, width = pixels.shape[:2]
        seen = self._seen(pixels)
        if max(seen.shape[:2]) <= self.tiling.size:
            return magnify(self._probabilities(seen[:]), height, width, box=self._shown(seen))
        answer = np.empty((len(self.classes), height, width), np.float32)
        for _, (rows, columns), box, values in self._tiles(seen, height, width):
            answer[:, rows, columns] = magnify(values, rows.stop - rows.start, columns.stop - columns.start, box=box)
        return answer

    def _seen(self, photo: Rows) -> Rows:
        """The photo as large as the network is to see it, before padding: uint8 (h, w, 3), from the top down."""
        if photo.dtype != np.uint8 or len(photo.shape) != 3 or photo.shape[2] != 3:
            raise ImageError(
                f"The photo is {photo.dtype} of shape {photo.shape}; expected uint8 (H, W, 3), RGB from 0 to 255."
            )
        return shrink(photo, *self._inner_size(*photo.shape[:2]))

    def _tiles(
        self, seen: Rows, height: int, width: int, advance: Advance = lambda share: None, first_row: int = 0
    ) -> Iterator[tuple[int, Block, Box, Probabilities]]:
        """Run the tiles of what the network sees of a photo of height x width, from one row of tiles on.

        Yields:
            the row of tiles; blocks of the photo, which together cover each pixel exactly once; float32 (C, h, w) that
            shows them; and the part of h x w that does. Valid until the next is asked for.
        """
        inner_height, inner_width = seen.shape[:2]
        blocks = blend_tiles(
            inner_height,
            inner_width,
            lambda tile, kept: self._kept(seen[tile[0]][:, tile[1]], kept),
            tiling=self.tiling,
            first_row=first_row,
        )
        across = len(self.tiling.spans(inner_width))
        tiles = len(self.tiling.spans(inner_height)) * across
        for number, ((rows, columns), probabilities) in enumerate(blocks, first_row * across):
            (top, bottom), (upper, lower) = _magnified(rows, height / inner_height)
            (left, right), (near, far) = _magnified(columns, width / inner_width)
            block = slice(top, bottom), slice(left, right)
            yield number // across, block, (near, upper, far, lower), probabilities
            advance(1 / tiles)
        self.engine.release()  # what a tile takes would stand beside the encoder's copy of a large picture

    def size_seen(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the network sees a photo of that size, padding included."""
        multiple = self.input_spec.size_multiple
        inner_height, inner_width = self._inner_size(height, width)
        return inner_height + -inner_height % multiple, inner_width + -inner_width % multiple

    def _inner_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what the network sees, before padding."""
        side = max(height, width) if self.size == "native" else self.size
        spec = self.input_spec if side is None else replace(self.input_spec, long_side=side, short_side=None)
        return spec.size_seen(height, width)

    def _shown(self, seen: Rows) -> Box:
        """The part of the network's answer, in its own rows and columns, that is no padding."""
        height, width = seen.shape[:2]
        return 0, 0, width * self._cells(width), height * self._cells(height)

    def _cells(self, length: int) -> float:
        """Rows of the network's answer for a row of what it is given, where that has so many before padding."""
        padded = length + -length % self.input_spec.size_multiple
        return math.ceil(padded / self.input_spec.output_stride) / padded

    def _kept(self, tile: NDArray[np.uint8], kept: Block) -> Probabilities:
        """uint8 (h, w, 3) -> float32 (C, h', w') of what is kept of a tile, at the tile's own size."""
        if self.input_spec.output_stride == 1:
            return self._probabilities(tile, kept)
        (rows, upper, lower), (columns, left, right) = (
            around(span.start * cells, span.stop * cells)
            for span, cells in zip(kept, map(self._cells, tile.shape[:2]), strict=True)
        )
        height, width = (span.stop - span.start for span in kept)
        return magnify(self._probabilities(tile, (rows, columns)), height, width, box=(left, upper, right, lower))

    def _probabilities(self, pixels: NDArray[np.uint8], kept: Block = _ALL) -> Probabilities:
        """uint8 (h, w, 3) -> float32 (C, h', w') of what is kept; it, and the block, count at the output stride."""
        stride = self.input_spec.output_stride
        height, width = (math.ceil(length / stride) for length in pixels.shape[:2])
        batch = self._batch(pixels)
        answer = _softmax(self._logits(batch)[:, :height, :width][:, *kept])
        if self.flip:
            image = batch[..., : width * stride]  # whole columns of the answer, so that they can be turned back
            image[:] = image[..., ::-1].copy()
            answer += _softmax(self._logits(batch)[:, :height, :width][:, :, ::-1][:, *kept])
            answer /= 2
        return answer

    def _batch(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (h, w, 3) -> float32 (1, 3, h', w'), normalised; padded with the mean colour to the multiple."""
        height, width = pixels.shape[:2]
        multiple = self.input_spec.size_multiple
        batch = np.zeros((1, 3, height + -height % multiple, width + -width % multiple), np.float32)
        image = batch[0, :, :height, :width]
        np.subtract(pixels.transpose(2, 0, 1), self._mean, out=image)
        image *= self._scale
        return batch

    def _logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (1, 3, h, w) -> float32 (C, h / s, w / s), s the output stride."""
        logits: NDArray[np.float32] = self.engine(batch)[0]
        if len(logits) != len(self.classes):
            raise EngineError(
                f"The network tells {len(logits)} classes apart, its class table names {len(self.classes)}."
            )
        stride = self.input_spec.output_stride
        if logits.shape[1:] != tuple(math.ceil(length / stride) for length in batch.shape[2:]):
            raise EngineError(f"The network answers at another size than 1 in {stride}, as its configuration has it.")
        return logits


def _default_tiling(multiple: int) -> Tiling:
    """The default sizes, rounded up to the network's multiple."""
    usual = Tiling()
    size, overlap = (-(-length // multiple) * multiple for length in (usual.size, usual.overlap))
    return Tiling(max(size, overlap + multiple), overlap)


def _softmax(logits: NDArray[np.float32]) -> Probabilities:
    """(C, h, w) -> the same, summing to one over C; a copy, as this may be a small part of a tile's logits."""
    greatest = logits.max(axis=0)
    if not np.isfinite(greatest).all():
        raise EngineError("The network answers with values that are no numbers; its weights are damaged.")
    probabilities: Probabilities = logits - greatest
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(axis=0)
    return probabilities


def _magnified(span: slice, factor: float) -> tuple[tuple[int, int], tuple[float, float]]:
    """The photo's rows whose middle lies in a span of the network's, and how much of that span they show.

    Spans that meet give rows that meet; the outer ones may show up to half of theirs beyond the span.

    Args:
        span: start and stop, in rows (or columns) of what the network sees.
        factor: height of the photo over that of what the network sees.

    Returns:
        first row and the one after the last; begin and end of what they show, in the network's rows, from 0 at `start`.
    """
    first, last = (math.ceil(edge * factor - 0.5) for edge in (span.start, span.stop))
    return (first, last), (first / factor - span.start, last / factor - span.start)
