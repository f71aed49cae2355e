"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelwise.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes its place when the block ends well.

    The suffix is kept, for writers that choose a format by it. When the block raises, `path` is as it was before and
    the temporary file is gone.

    Raises:
        OutputError: the directory is missing or cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(umask_mode(0o666))  # mkstemp's files are for the owner only
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a whole file, or leave what was there.

    Raises:
        OutputError: as for `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def making_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory beside `path`; what was written there becomes `path` when the block ends well.

    Args:
        path: where nothing is, or an empty directory. When the block raises, it is as it was before.

    Raises:
        OutputError: the directory around it is missing or cannot be written to, or the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
            fresh = Path(temporary) / "new"  # the temporary one itself is for the owner only
            fresh.mkdir()
            yield fresh
            if path.exists():
                path.rmdir()
            fresh.rename(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


def umask_mode(mode: int) -> int:
    """The permission bits that a new file or directory made with `mode` would get here."""
    umask = os.umask(0)
    os.umask(umask)
    return mode & ~umask


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name points to them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
