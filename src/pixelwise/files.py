"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import secrets
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
        fresh = beside(path)
        # Not by `mkstemp`, whose files are for the owner only: here the system applies the umask, which a process
        # cannot ask for without setting it, for all of its threads.
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = fresh
        yield temporary
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


def write_text(path: Path, text: str) -> None:
    r"""Write a whole file of UTF-8, or leave what was there; what is no UTF-8 in a photo's name is written as `\udcff`.

    Raises:
        OutputError: as for `replacing`.
    """
    # Such a name holds lone surrogates, and no file should be lost to them after all the work.
    write_atomically(path, text.encode(errors="backslashreplace"))


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


def beside(path: Path) -> Path:
    """A hidden name of its own in the same directory, with the same suffix; of a long name, only the beginning."""
    return path.parent / f".{path.stem[:32]}-{secrets.token_hex(4)}{path.suffix}"


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, be it a link to nowhere.

    Raises:
        OutputError: nothing can be of that name, or the system may not look: the name is too long, say.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return True


def check_writable(directory: Path) -> None:
    """See that files can be made in a directory.

    Raises:
        OutputError: they cannot.
    """
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputError(f"The directory {directory} cannot be written to.")


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name points to them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
