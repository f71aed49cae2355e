"""Fetching public datasets: resumed where it stopped, checked by MD5, unpacked whole or not at all.

Addresses and MD5 sums are those of torchvision, which a test compares; torchvision's own download starts from the
beginning after every interruption.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import DataError, OutputError, did_you_mean
from pixelwise.files import beside, write_atomically
from pixelwise.labels import VOC
from pixelwise.masks import encode_mask

Report = Callable[[str, int, int], None]
"""Told what is going on: a file's name, bytes that are there, bytes in all."""

_PIECE = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to fetch.

    Attributes:
        url: where it is.
        md5: of the whole file, in hexadecimal.
        folder: what it is unpacked to, below the dataset's directory.
    """

    url: str
    md5: str
    folder: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


ARCHIVES: Mapping[str, tuple[Archive, ...]] = {
    "oxford-pets": (
        Archive(
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            "5c4f3ee8e5d25df40f4fd59a7f44e54c",
            "images",
        ),
        Archive(
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
            "95a8c909bbe2e81eed6a22bccdf3f68f",
            "annotations",
        ),
    ),
    "voc2012": (
        Archive(
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "6cd6e144f989b92b3379bac3b3de84fd",
            "VOCdevkit/VOC2012",  # the other years' lie beside it
        ),
    ),
    "sbd": (
        Archive(
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            "82b4d87ceb2ed10f6038a1cba92111cb",
            "VOCdevkit/VOC2012/SegmentationClassAug",
        ),
    ),
}
"""Dataset -> what it consists of."""


def fetch(
    name: str,
    directory: Path,
    *,
    mirror: str | None = None,
    report: Report = lambda name, done, total: None,
    archives: Mapping[str, tuple[Archive, ...]] = ARCHIVES,
) -> None:
    """Fetch a dataset and unpack it, so that `pixelwise.data` reads it; what is there already is left alone.

    `sbd` adds its masks to the VOC 2012 that lies in the same directory, as `SegmentationClassAug/` and the split
    `train_aug`: all photos with a mask of either but for those of VOC's val, as figures are measured on them.

    Args:
        name: one of `archives`.
        directory: where to put it; made if it is not there. A complete archive that lies in it is not fetched.
        mirror: the address of a directory that holds files of the same names, to be asked instead.
        report: called while bytes come in.
        archives: what there is to fetch.

    Raises:
        DataError: there is no such dataset, a server does not answer, or a file has another MD5 than it should; or,
            for sbd, VOC 2012 or SciPy is missing.
        OutputError: the directory cannot be written to.
    """
    if name not in archives:
        there = did_you_mean(name, sorted(archives), f"there are: {', '.join(sorted(archives))}.")
        raise DataError(f"There is no dataset {name!r} to fetch; {there}")
    if name == "sbd":
        _check_ready_for_sbd(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for archive in archives[name]:
            if (directory / archive.folder).exists():
                continue
            path = download(archive, directory, mirror=mirror, report=report)
            (_convert_sbd if name == "sbd" else _unpack)(path, directory, archive)
    except OSError as error:
        raise OutputError(f"{directory} cannot be written to: {error.strerror or error}.") from error


def download(archive: Archive, directory: Path, *, mirror: str | None, report: Report) -> Path:
    """Fetch one file to `directory`, going on where `NAME.part` ends; a complete one is only checked.

    Raises:
        DataError: the server does not answer, or the MD5 is wrong.
    """
    path = directory / archive.name
    if path.is_file():
        _check_md5(path, archive)
        return path
    part = path.with_name(f"{path.name}.part")
    url = archive.url if mirror is None else f"{mirror.rstrip('/')}/{archive.name}"
    try:
        _receive(url, part, lambda done, total: report(archive.name, done, total))
    except (_NoAnswer, ValueError) as error:
        raise DataError(
            f"{url} cannot be fetched ({error}); what came so far is kept. Try again, or fetch {archive.url} in "
            f"another way and put it at {path}."
        ) from error
    _check_md5(part, archive)
    part.rename(path)
    return path


class _NoAnswer(Exception):
    """A server that cannot be reached, refuses, or stopped sending."""


def _receive(url: str, part: Path, report: Callable[[int, int], None]) -> None:
    """Append to `part` until it is whole; each time the connection breaks, ask for the rest, while any comes.

    A server that does not send parts begins anew each time; then an attempt has to get further than all before it.
    """
    furthest = 0
    while True:
        start = part.stat().st_size if part.is_file() else 0
        response = _ask(url, start)
        if response is None:
            return
        with response, part.open("ab") as file:
            if response.status != 206:  # this server does not send parts
                file.truncate(0)
                start = 0
            total = start + int(response.headers.get("Content-Length") or 0)
            done = start
            for piece in _pieces(response):
                file.write(piece)
                done += len(piece)
                report(done, max(total, done))
        if done >= total:
            return
        if done <= max(start, furthest):
            raise _NoAnswer("the connection breaks off")
        furthest = done


def _ask(url: str, start: int) -> HTTPResponse | None:
    """The answer with all bytes from `start` on; none where there are no more."""
    if not url.startswith(("http://", "https://")):
        raise _NoAnswer("its address does not begin with http:// or https://")
    headers = {"User-Agent": "pixelwise"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # asked for what lies behind the end
            return None
        raise _NoAnswer(f"the server says {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _NoAnswer(str(getattr(error, "reason", "") or error)) from error
    return answer


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    """What comes, until the end or until the connection breaks."""
    while True:
        try:
            piece = response.read1(_PIECE)
        except (OSError, HTTPException):
            return
        if not piece:
            return
        yield piece


def _check_md5(path: Path, archive: Archive) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != archive.md5:
        raise DataError(
            f"{path} has the MD5 {found}, but {archive.name} should have {archive.md5}: it is damaged or another "
            "version; delete it, and fetch again."
        )


def _unpack(path: Path, directory: Path, archive: Archive) -> None:
    """Beside its place first, so that a folder that is there is whole."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".unpacking-") as temporary:
        with _opened(path) as tar:
            tar.extractall(temporary, filter="data")
        found = Path(temporary) / archive.folder
        if not found.is_dir():
            raise DataError(f"{path} holds no folder {archive.folder}; delete it, and fetch again.")
        target = directory / archive.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        found.rename(target)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path} is no archive that can be unpacked ({error}).") from error


def _check_ready_for_sbd(directory: Path) -> None:
    if not (directory / "VOCdevkit" / "VOC2012" / "JPEGImages").is_dir():
        raise DataError(
            f"SBD has masks for the photos of VOC 2012, which is not in {directory}; first: "
            f"pixelwise fetch voc2012 {directory}"
        )
    try:
        import scipy.io  # noqa: F401
    except ModuleNotFoundError as error:
        raise DataError("SBD's masks are read with SciPy, which is not installed; `pip install scipy`.") from error


def _convert_sbd(path: Path, directory: Path, archive: Archive) -> None:
    """Masks of SBD, .mat in the archive, to PNG with VOC's colours; then the list `train_aug`."""
    target = directory / archive.folder
    temporary = beside(target)
    temporary.mkdir()
    try:
        with _opened(path) as tar:
            for member in tar:
                file = tar.extractfile(member) if "/cls/" in member.name and member.name.endswith(".mat") else None
                if file is not None:
                    png = temporary / f"{Path(member.name).stem}.png"
                    png.write_bytes(encode_mask(_read_mat(file), VOC))
        lists = target.parent / "ImageSets" / "Segmentation"
        train, val = (set((lists / f"{name}.txt").read_text(encoding="utf-8").split()) for name in ("train", "val"))
        names = sorted(({png.stem for png in temporary.iterdir()} | train) - val)
        write_atomically(lists / "train_aug.txt", "".join(f"{name}\n" for name in names).encode())
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_mat(file: IO[bytes]) -> NDArray[np.uint8]:
    """The class ids, uint8 (H, W); SBD has no borders."""
    from scipy.io import loadmat

    content = loadmat(io.BytesIO(file.read()))
    return np.asarray(content["GTcls"][0]["Segmentation"][0], dtype=np.uint8)
