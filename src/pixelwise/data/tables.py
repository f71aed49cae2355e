"""Pictures in the columns of Arrow and Parquet files, as Hugging Face's `datasets` writes them.

Read by pyarrow alone, which is imported inside the functions: `datasets` would bring pandas and more, and adds nothing
to what these files hold. Pictures stay encoded, and decoding them is for `pixelwise.decoding` and its limits.

An Arrow file is mapped into memory, so that any row is at hand. Of a Parquet file the row group is read that a row lies
in, one column of it, and the last few stay in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pixelwise.errors import DataError

_GROUPS_KEPT = 8
_FILES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rows.

    Attributes:
        path: the file, `.parquet` or Arrow's stream.
        stamp: its size in bytes and its time of change, by which it is known again.
        groups: the first row of each group that is read at once, and last the number of rows.
        columns: name and type of each column.
        pictures: names of the columns that hold encoded pictures.
        features: what `datasets` says of the columns, as JSON; empty where it did not write the file.
    """

    path: Path
    stamp: tuple[int, int]
    groups: tuple[int, ...]
    columns: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...]
    features: str

    def __len__(self) -> int:
        return self.groups[-1]


def open_table(path: Path) -> Table:
    """Look at a file: its columns and the number of its rows.

    Raises:
        DataError: it is missing, damaged or not complete, or pyarrow is not installed.
    """
    with _reading(path):
        status = path.stat()
        stamp = status.st_size, status.st_mtime_ns
        if path.suffix == ".parquet":
            import pyarrow.parquet

            with pyarrow.parquet.ParquetFile(path) as file:
                schema = file.schema_arrow
                counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        else:
            table = _arrow_table(path, stamp)
            schema, counts = table.schema, [table.num_rows]
        groups = tuple(sum(counts[:i]) for i in range(len(counts) + 1))
        features = (schema.metadata or {}).get(b"huggingface", b"").decode()
    columns = tuple((field.name, str(field.type)) for field in schema)
    pictures = tuple(field.name for field in schema if _holds_pictures(field.type))
    return Table(path, stamp, groups, columns, pictures, features)


def read_picture(table: Table, row: int, column: str) -> bytes:
    """The encoded picture in a row; no bytes where the row has none.

    Raises:
        DataError: the file is damaged, or has the path of a picture in place of the picture.
    """
    with _reading(table.path):
        if table.path.suffix == ".parquet":
            group = bisect_right(table.groups, row) - 1
            cell = _parquet_column(table.path, table.stamp, group, column)[row - table.groups[group]]
        else:
            cell = _arrow_table(table.path, table.stamp).column(column)[row]
        value = cell.as_py()
    if not isinstance(value, dict):
        return value or b""
    if value["bytes"] is None and value.get("path"):
        # It is not followed: whoever made the file would choose what is read from this machine.
        raise DataError(
            f"Row {row} of {table.path} has the path of a picture under {column}, not the picture; save the dataset "
            "again by `save_to_disk`, which puts the pictures inside."
        )
    return value["bytes"] or b""


@lru_cache(maxsize=_FILES_KEPT)
def _arrow_table(path: Path, stamp: tuple[int, int]) -> Any:
    """Arrow's stream in a file, mapped; the stamp is there for the cache alone."""
    import pyarrow

    table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
    table.validate(full=True)  # offsets that point outside would be followed
    return table


@lru_cache(maxsize=_GROUPS_KEPT)
def _parquet_column(path: Path, stamp: tuple[int, int], group: int, column: str) -> Any:
    """One column of a row group; the stamp is there for the cache alone."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column], use_threads=False).column(column)


def _holds_pictures(kind: Any) -> bool:
    """Whether a type is that of `datasets.Image`, a struct of bytes and path, or plain bytes."""
    from pyarrow import types

    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_pictures(kind.field(at).type) and not types.is_struct(kind.field(at).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what pyarrow raises into one sentence."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path} is read by pyarrow, which is not installed; `pip install 'pixelwise[huggingface]'` brings it."
        ) from error
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; download or copy the dataset again.") from error
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        text = " ".join(str(error).split())[:120].rstrip(".")
        raise DataError(
            f"{path} cannot be read ({text}): it is damaged or not complete; download or copy it again (`git lfs pull` "
            "in a clone from the Hub)."
        ) from error
