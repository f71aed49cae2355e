"""TIFF files of several pages, as microscopes write them: a photo a page, and the masks likewise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from PIL import Image

from pixelwise.decoding import DEFAULT_LIMITS, decoded, reason
from pixelwise.errors import ImageError
from pixelwise.files import making_directory
from pixelwise.images import find_images

_SUFFIXES = (".tif", ".tiff")


def find_stacks(root: Path) -> list[Path]:
    """The TIFF files of a folder whose second page is as large as the first; smaller ones are previews.

    Raises:
        ImageError: the folder cannot be listed.
    """
    return [path for path in find_images(root, recursive=True) if path.suffix.lower() in _SUFFIXES and _is_stack(path)]


def _is_stack(path: Path) -> bool:
    try:
        with decoded(path, limits=DEFAULT_LIMITS, name=None, pixels=False) as picture:
            first = picture.image.size
            picture.image.seek(1)
            return picture.image.size == first
    except ImageError:  # of one page, or damaged, which is for others to say
        return False


def unpack_stacks(
    stacks: Collection[Path], root: Path, out: Path, *, advance: Callable[[float], None] = lambda share: None
) -> int:
    """Write a copy of a folder in which each stack is a folder of its pages, `train-labels.tif` `train-labels/000.png`.

    Args:
        stacks: of `find_stacks`.
        root: the folder; nothing there is changed.
        out: where to: a path at which nothing is, or an empty directory.
        advance: called with 1 after each stack.

    Returns:
        how many pages were written.

    Raises:
        ImageError: a page is damaged, or of a kind that PNG does not hold.
        OutputError: the copy cannot be written; `out` is then as it was.
    """
    pages = 0
    with making_directory(out) as fresh:
        for path in sorted({*root.rglob("*"), *find_images(root, recursive=True)}):  # the latter follows links
            inside = path.relative_to(root)
            if not path.is_file() or any(part.startswith(".") for part in inside.parts):
                continue
            copy = fresh / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path in stacks:
                pages += _unpack(path, copy.with_suffix(""))
                advance(1)
            else:
                shutil.copyfile(path, copy)
    return pages


def _unpack(stack: Path, folder: Path) -> int:
    folder.mkdir()
    with decoded(stack, limits=DEFAULT_LIMITS, name=None, pixels=False) as picture:
        image, size, number = picture.image, picture.image.size, 0
        while True:
            try:
                image.seek(number)
            except EOFError:
                return number
            if image.size != size:
                raise ImageError(f"Page {number + 1} of {stack} has another size than the first; save it by itself.")
            _save(image, folder / f"{number:03}.png", what=f"Page {number + 1} of {stack}")
            number += 1


def _save(page: Image.Image, path: Path, *, what: str) -> None:
    try:
        page.save(path)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{what} cannot be written as PNG ({reason(error)}); save the pages in 8 or 16 bits."
        ) from error
