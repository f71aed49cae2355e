"""How masks on disk say which class a pixel is, and how their pixels become class ids.

Three kinds: by the stored value (index or grey, up to 16 bits), by colour, or by opacity. Which one a folder has is
found by `pixelwise.data.detection`, or stated in its `dataset.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.survey import Tally, colour_of, colours_of_values, pack, runs, unpack
from pixelwise.decoding import Source
from pixelwise.errors import LabelError, MaskError
from pixelwise.labels import Colour
from pixelwise.masks import RawMask, read_raw_mask

Kind = Literal["value", "colour", "alpha"]
Key = int | Colour
"""A stored value, or a colour."""

_UNKNOWN = -1
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the masks of a dataset mean.

    Attributes:
        kind: whether a class is told by the stored value, the colour or the opacity of a pixel.
        mapping: stored value or colour, and the class id it stands for, or `ignore_index`.
        rest: the id of whatever `mapping` does not hold; None to refuse it.
        tolerance: what differs from a key of `mapping` by at most this much in every channel counts as the nearest
            key, and what is further from all as not labelled; 0 for exact masks.
        ignore_index: the id of "not labelled".
        reason: how this was found, in a sentence.
    """

    kind: Kind
    mapping: tuple[tuple[Key, int], ...]
    rest: int | None = None
    tolerance: int = 0
    ignore_index: int = 255
    reason: str = ""

    def decode(self, source: Source, *, name: str | None = None) -> NDArray[np.uint8]:
        """A mask as class ids, uint8 (H, W).

        Args:
            source: see `pixelwise.decoding.Source`.
            name: what to call it in messages; by default the path.

        Raises:
            MaskError: it cannot be read, or is of another kind.
            LabelError: it holds what the mapping does not know; the message gives each such value or colour (up to
                five, the commonest first) and its share of the pixels.
        """
        name = name or str(source)
        keys = self._keys(read_raw_mask(source, name=name), name)
        ids = self._ids_of(keys)
        if int(ids.min()) < 0:
            self._refuse(keys, ids, name)
        return ids.astype(np.uint8)

    def decode_known(self, source: Source, *, name: str | None = None) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """As `decode`, but what the mapping does not know is not labelled; and which pixels that are, (H, W).

        Raises:
            MaskError: it cannot be read, or is of another kind.
        """
        ids = self._ids_of(self._keys(read_raw_mask(source, name=name), name or str(source)))
        unknown = ids < 0
        return np.where(unknown, np.int16(self.ignore_index), ids).astype(np.uint8), unknown

    def _ids_of(self, keys: NDArray[Any]) -> NDArray[np.int16]:
        """The class id of each pixel, int16 (H, W); -1 for what is not known."""
        if self.kind != "colour" and self.tolerance == 0 and keys.dtype == np.uint8:
            of_values: NDArray[np.int16] = self._ids(np.arange(256, dtype=np.uint32))[keys]
            return of_values
        values, lengths = runs(keys)
        distinct, inverse = np.unique(values, return_inverse=True)
        return np.repeat(self._ids(distinct)[inverse], lengths).reshape(keys.shape)

    def _keys(self, raw: RawMask, name: str) -> NDArray[Any]:
        """The mask (H, W) as values or packed colours, whichever `mapping` is about."""
        samples = raw.samples
        if self.kind == "alpha":
            if raw.alpha is None:
                raise MaskError(f"{name} has no opacity (alpha channel), by which the masks of this dataset are told.")
            return raw.alpha
        if self.kind == "value":
            if samples.ndim == 2:
                return samples
            if (samples[..., :1] != samples).any():
                raise MaskError(f"{name} is in colour; the masks of this dataset are told by value, not by colour.")
            return samples[..., 0]
        if samples.ndim == 3:
            return pack(samples)
        if samples.dtype != np.uint8:
            raise MaskError(f"{name} has 16 bits; the masks of this dataset are told by colour.")
        table = colours_of_values(None if raw.palette is None else pack(raw.palette))
        return table[samples]

    def _ids(self, keys: NDArray[np.uint32]) -> NDArray[np.int16]:
        """The class id of each of some values or packed colours, int16 (K,); -1 for what is not known."""
        ids = np.array([target for _, target in self.mapping], np.int16)
        colour = self.kind == "colour"
        points = unpack(keys) if colour else keys.astype(np.int64)[:, None]
        known = np.array([key for key, _ in self.mapping], np.int64).reshape(len(ids), -1)
        nearest = np.zeros(len(keys), np.int64)
        distance = np.full(len(keys), np.iinfo(np.int64).max)
        for at, key in enumerate(known):
            here = np.abs(points - key).max(axis=1)
            nearest, distance = np.where(here < distance, at, nearest), np.minimum(here, distance)
        far = self.rest if self.rest is not None else self.ignore_index if self.tolerance else _UNKNOWN
        return np.where(distance <= self.tolerance, ids[nearest], np.int16(far))

    def _refuse(self, keys: NDArray[Any], ids: NDArray[np.int16], name: str) -> None:
        strangers = Tally.of(keys[ids < 0])
        order = np.argsort(-strangers.pixels, kind="stable")
        shown = [
            f"{self._shown(int(strangers.keys[i]))} ({100 * strangers.pixels[i] / keys.size:.2g} %)"
            for i in order[:_SHOWN]
        ]
        if len(order) > _SHOWN:
            rest = int(strangers.pixels[order[_SHOWN:]].sum())
            shown.append(f"{len(order) - _SHOWN} more ({100 * rest / keys.size:.2g} %)")
        what = "colours" if self.kind == "colour" else "values"
        raise LabelError(
            f"{name} holds {what} that stand for no class: {', '.join(shown)} of its pixels; correct the mask, or say "
            "what they mean under `mapping` in dataset.yaml."
        )

    def _shown(self, key: int) -> str:
        return ",".join(map(str, colour_of(key))) if self.kind == "colour" else str(key)


def key_text(kind: Kind, key: Key) -> str:
    """A stored value or colour as it stands under `mapping` in dataset.yaml: "255", "128,0,0", "alpha 255"."""
    text = str(key) if isinstance(key, int) else ",".join(map(str, key))
    return f"alpha {text}" if kind == "alpha" else text
