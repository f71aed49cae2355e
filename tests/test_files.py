from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pixelwise.errors import OutputError
from pixelwise.files import is_there, replacing, write_atomically


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"first, and longer")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_whole_until_the_block_ends(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"half of the ne")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_the_temporary_path_keeps_the_suffix(tmp_path: Path):
    with replacing(tmp_path / "model.onnx") as temporary:
        assert temporary.suffix == ".onnx"


@pytest.mark.parametrize("stem", ["x" * 240, "\N{CAT FACE}" * 60], ids=["letters", "cats"])
def test_a_name_as_long_as_it_can_be_is_written(tmp_path: Path, stem: str):
    path = tmp_path / f"{stem}_mask.tiff"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_block_that_raises_leaves_the_old_file_and_no_temporary(tmp_path: Path, error: BaseException):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def disk_full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if call == "fsync" else Path, call, disk_full)
    with pytest.raises(OutputError, match=r"a\.bin cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_said(tmp_path: Path):
    with pytest.raises(OutputError, match=r"absent/a\.bin cannot be written: No such file"):
        write_atomically(tmp_path / "absent" / "a.bin", b"new")


def test_what_is_there_is_seen_and_what_cannot_be_is_said(tmp_path: Path):
    (tmp_path / "link").symlink_to("nowhere")
    assert is_there(tmp_path / "link")
    assert not is_there(tmp_path / "absent" / "a.bin")
    with pytest.raises(OutputError, match=r"x cannot be written: File name too long\."):
        is_there(tmp_path / ("x" * 300))


def test_a_directory_in_its_place_is_said_and_left_alone(tmp_path: Path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"a\.bin cannot be written"):
        write_atomically(tmp_path / "a.bin", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.bin"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.bin", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_many_threads_write_and_leave_the_umask_alone(tmp_path: Path):
    interval, before = sys.getswitchinterval(), os.umask(0o027)
    sys.setswitchinterval(1e-6)  # threads change places as often as they can
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda i: write_atomically(tmp_path / f"{i}.bin", b"new"), range(2000)))
        assert os.umask(before) == 0o027
    finally:
        sys.setswitchinterval(interval)
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}
