"""Segmenting many photos: what the inputs stand for, where the results go, and one bad file costing that file only.

Photos overlap: while one is computed, others are read and written. A run that was ended can be resumed.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pixelwise.decoding import Limits, Source, header_size
from pixelwise.errors import ImageError, PixelwiseError
from pixelwise.images import find_images
from pixelwise.labels import ClassShare
from pixelwise.large_photo import LargePhoto, find_large
from pixelwise.large_segmentation import LargeSegmentation, segment_large, suffixes
from pixelwise.ledger import LEDGER, Entry, Ledger, digest
from pixelwise.machine import cores
from pixelwise.segmentation import (
    LONG_SUFFIXES,
    SUFFIXES,
    TIFF_SUFFIXES,
    Segmentation,
    output_paths,
    prepare_outputs,
    stem_of,
    suffixes_for,
)
from pixelwise.segmenter import Advance, Segmenter

STANDARD_INPUT = "-"

_MOST_AT_ONCE = 8  # each takes the memory of a network's feature maps
_PIXELS_AT_ONCE = 64_000_000  # of all photos that are read, computed or written at the moment, but for a single one
_ANY = Limits(max_bytes=1 << 62, max_pixels=1 << 62)  # for headers; the limits of photos are their reader's business


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to segment.

    Attributes:
        source: its path, or "-" for standard input.
        output: what the names of its results begin with, relative to the output directory.
        large: the photo, where it is to be read by rows.
        size: its height and width by its header; zeros where that does not tell, or can be read only once.
        notes: what is to be said of it beside what its reader does.
    """

    source: str
    output: Path
    large: LargePhoto | None = None
    size: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()

    @property
    def file(self) -> Path | None:
        """The photo's file; None of standard input, a pipe or a device, which can be read only once."""
        path = Path(self.source)
        return path if self.source != STANDARD_INPUT and _is(Path.is_file, path) else None

    @property
    def identity(self) -> str:
        """What makes a photo the same, however its path is given."""
        return self.source if self.source == STANDARD_INPUT else str(Path(self.source).absolute())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job; without the pixels, so that thousands of them can be kept.

    Attributes:
        job: what was to be done.
        classes: found in the photo, the largest first.
        notes: what was done to the photo while reading it.
        files: written.
        error: why there is nothing of the above.
        before: whether an earlier run had done it.
    """

    job: Job
    classes: tuple[ClassShare, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    error: PixelwiseError | None = None
    before: bool = False


def plan(inputs: Sequence[str], *, out: Path) -> tuple[list[Job], list[Outcome]]:
    """Resolve inputs to photos.

    Args:
        inputs: files, folders (searched with all their subfolders, whose structure the results keep), glob patterns,
            or "-" for standard input.
        out: the output directory; files inside it that are called as results are, such as `cat_mask.png`, come from an
            earlier run and are left out of folders and patterns.

    Returns:
        the photos in order, each once, and the inputs that stand for none, for one that is too large, or for a folder
        in which not everything can be seen.
    """
    found: dict[str, Job] = {}  # by their photos' identity, the first mention counts
    failures = []
    for given in inputs:
        try:
            for source, output in _resolve(given, out):
                job = Job(source, output)
                found.setdefault(job.identity, job)
        except PixelwiseError as error:
            failures.append(Outcome(Job(given, Path(stem_of(given))), error=error))
    jobs = []
    for job in _distinct(found.values()):
        try:
            jobs.append(_looked_at(job))
        except ImageError as error:
            failures.append(Outcome(job, error=error))
    return jobs, failures


def _looked_at(job: Job) -> Job:
    """A job with what the header of its photo tells."""
    if job.file is None:
        return job
    notes: list[str] = []
    large = find_large(job.source, note=notes.append)
    try:
        size = header_size(job.file, limits=_ANY)
    except ImageError:
        size = 0, 0
    return replace(job, large=large, size=size, notes=tuple(notes))


def at_once(jobs: Sequence[Job]) -> int:
    """How many of so many photos are best computed at the same time: each on a core of its own."""
    return max(1, min(cores(), len(jobs), _MOST_AT_ONCE))


def run(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    *,
    out: Path,
    what: Sequence[str],
    opacity: float,
    force: bool,
    resume: bool = False,
    model: str = "",
    streams: int = 1,
    advance: Advance = lambda share: None,
) -> Iterator[Outcome]:
    """Segment photos, and save the results.

    Args:
        segmenter: the model.
        jobs: from `plan`.
        out: the output directory. Where there are several photos, or a large one, it gets a ledger of what is done;
            one that is there is kept up in any case.
        what: some of `pixelwise.segmentation.SAVEABLE`.
        opacity: as for `Segmentation.overlay`.
        force: write over files that are there.
        resume: go on with a run of the same model and settings: leave out photos that the ledger has as done, with the
            same content, and write over what it has of the others, from files of the same path.
        model: what tells the model, its precision and the program from every other; for the ledger.
        streams: how many photos are computed at once; the segmenter's engine must have been loaded for as many.
        advance: called with shares of a photo as they are done, one in all for each photo, for a progress bar; from
            several threads where there are several streams.

    Yields:
        an outcome a job, in their order. A photo that cannot be read, or whose results cannot be written, is one with
        an error.

    Raises:
        OutputError: before the first photo: files are there already and `force` is off, or a directory is not writable.
    """
    kept = len(jobs) > 1 or resume or any(job.large for job in jobs) or _is(Path.is_file, out / LEDGER)
    ledger = Ledger(out) if kept else None
    work = _Work(segmenter, out, what, opacity, ledger, force, resume, _settings(segmenter, what, opacity, model))
    known = {job for job in jobs if work.knows(job)}
    ours = known if resume else set()
    remedy = "--resume to go on with the run that they come from, " if known and not resume else ""
    prepare_outputs(
        [path for job in jobs if job not in ours for path in _paths(job, out, what).values()],
        force=force,
        remedy=f"give {remedy}--force to overwrite, or another --out",
    )
    prepare_outputs([path for job in ours for path in _paths(job, out, what).values()], force=True)
    stopped = threading.Event()

    def do(job: Job) -> Outcome:
        done: list[float] = []

        def count(share: float) -> None:
            if stopped.is_set():
                raise _Stopped
            done.append(share)
            advance(share)

        outcome = work.outcome(job, count)
        advance(1 - sum(done))  # a photo of one tile, or one that failed
        return outcome

    try:
        yield from map(do, jobs) if streams == 1 else _overlapped(do, jobs, streams, stopped)
    finally:
        if ledger is not None:
            ledger.close()


class _Stopped(Exception):
    """Nobody waits for the photo any longer."""


def _overlapped(
    do: Callable[[Job], Outcome], jobs: Sequence[Job], streams: int, stopped: threading.Event
) -> Iterator[Outcome]:
    """Twice as many threads as streams: while one of two photos is computed, the other is read or written.

    `stopped` is set when no more outcomes are wanted, and the threads are waited for.
    """
    pending: deque[tuple[Future[Outcome], int]] = deque()
    pool = ThreadPoolExecutor(2 * streams)
    try:
        for job in jobs:
            pixels = job.size[0] * job.size[1]
            while pending and (
                len(pending) >= 4 * streams or pixels + sum(each for _, each in pending) > _PIXELS_AT_ONCE
            ):
                yield pending.popleft()[0].result()
            pending.append((pool.submit(do, job), pixels))
        while pending:
            yield pending.popleft()[0].result()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _settings(segmenter: Segmenter, what: Sequence[str], opacity: float, model: str) -> str:
    """All that the results of a photo depend on, beside the photo, in a few letters."""
    size, tiling = segmenter.size, (segmenter.tiling.size, segmenter.tiling.overlap)
    told = [model, size, segmenter.flip, tiling, sorted(what), opacity]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the photos of a run have in common."""

    segmenter: Segmenter
    out: Path
    what: Sequence[str]
    opacity: float
    ledger: Ledger | None
    force: bool
    resume: bool
    settings: str

    def knows(self, job: Job) -> bool:
        """Whether a run of these settings has begun the job, and not that of another photo of the same name."""
        entry, file = self._entry(job), job.file
        if entry is None or file is None or entry.settings != self.settings:
            return False
        return entry.source == job.identity or (entry.photo is not None and entry.photo == digest(file))

    def outcome(self, job: Job, advance: Advance) -> Outcome:
        """Do a job, unless it is done."""
        try:
            photo = digest(job.file) if self.ledger is not None and job.file is not None else None
            return self._done_before(job, photo) or self._segmented(job, photo, advance)
        except PixelwiseError as error:
            return Outcome(job, error=error)
        except MemoryError:
            return Outcome(job, error=ImageError(f"{job.source}: there is not enough memory for a photo of this size."))

    def _entry(self, job: Job) -> Entry | None:
        return self.ledger.get(str(job.output)) if self.ledger is not None else None

    def _enter(self, job: Job, entry: Entry) -> None:
        if self.ledger is not None:
            self.ledger.enter(str(job.output), replace(entry, source=job.identity))

    def _done_before(self, job: Job, photo: str | None) -> Outcome | None:
        entry = self._entry(job) if self.resume else None
        files = tuple(_paths(job, self.out, self.what).values())
        if entry is None or photo is None or (entry.photo, entry.settings) != (photo, self.settings):
            return None
        return Outcome(job, entry.classes, entry.notes, files, before=True) if all(map(Path.is_file, files)) else None

    def _segmented(self, job: Job, photo: str | None, advance: Advance) -> Outcome:
        paths, target = _paths(job, self.out, self.what), self.out / job.output
        result: Segmentation | LargeSegmentation
        if job.large is None:
            name = "standard input" if job.source == STANDARD_INPUT else None
            read = self.segmenter(_standard_input() if name else job.source, name=name, advance=advance)
            result = replace(read, notes=(*read.notes, *job.notes))
        else:
            scratch, key = target.with_name(f".{target.name}.pixelwise-part"), f"{photo} {self.settings}"
            result = segment_large(self.segmenter, job.large, scratch, key=key, resume=self.resume, advance=advance)
        self._enter(job, Entry(self.settings))
        if isinstance(result, LargeSegmentation):
            result.save(paths, opacity=self.opacity, advance=advance)
            files = list(paths.values())
        else:
            checked = self.force or job.file is not None  # of a pipe, nobody knew before what its overlay is called
            files = result.save(target.parent, stem=target.name, what=self.what, opacity=self.opacity, force=checked)
        self._enter(job, Entry(self.settings, photo, result.classes, result.notes))
        return Outcome(job, result.classes, result.notes, tuple(files))


def _standard_input() -> Source:
    if sys.stdin is None:  # closed by whoever started us
        raise ImageError("There is no standard input to read a photo from.")
    return sys.stdin.buffer


def _paths(job: Job, out: Path, what: Sequence[str]) -> dict[str, Path]:
    target, known = out / job.output, suffixes_for(*job.size) if job.large is None else suffixes(job.large)
    return output_paths(target.parent, target.name, what, suffixes=known)


def _resolve(given: str, out: Path) -> Iterator[tuple[str, Path]]:
    """The photos that one input stands for, each with what the names of its results begin with."""
    path = Path(given)
    if given == STANDARD_INPUT:
        yield given, Path("stdin")
    elif not given:  # Path("") is the current directory, which nobody means by it
        raise ImageError("An input is empty; name a photo, a folder, a pattern or -.")
    elif _is(Path.is_dir, path):
        unlisted: list[ImageError] = []
        photos = _without_results(find_images(path, recursive=True, refuse=unlisted.append), out)
        for photo in photos:
            yield str(photo), photo.relative_to(path).with_suffix("")
        if unlisted:
            raise ImageError(" ".join(map(str, unlisted)))
        if not photos:
            raise ImageError(f"{given}: there is no photo in this folder or below it.")
    elif _is(Path.exists, path) or not glob.has_magic(given):
        yield given, Path(stem_of(path))  # a missing file is for the reader to complain about
    else:
        found = glob.glob(given, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        matches = sorted(path for path in map(Path, found) if _is(Path.is_file, path))
        matches = _without_results(matches, out)
        if not matches:
            raise ImageError(f"{given}: no file matches this pattern.")
        for match in matches:
            yield str(match), Path(stem_of(match))


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    try:
        return question(path)
    except OSError:  # pathlib lets some through, such as that the name is too long
        return False


def _without_results(photos: Sequence[Path], out: Path) -> list[Path]:
    """The photos but for the results of an earlier run."""
    directory = Path(os.path.realpath(out))  # `resolve` raises where a link leads to itself
    results = (*SUFFIXES.values(), *LONG_SUFFIXES.values(), *TIFF_SUFFIXES.values())
    return [photo for photo in photos if not (photo.name.endswith(results) and directory in photo.resolve().parents)]


def _distinct(found: Iterable[Job]) -> list[Job]:
    """Jobs whose outputs differ: `a.jpg` and `a.png` become `a` and `a_png`; what still collides is numbered.

    They differ in more than upper and lower case, which some file systems do not tell apart.
    """
    taken: set[str] = set()
    jobs = []
    for job in found:
        output, choice, number = job.output, job.output, 1
        if str(choice).casefold() in taken:
            choice = output.with_name(f"{output.name}_{Path(job.source).suffix.lstrip('.').lower()}")
        while str(choice).casefold() in taken:
            number += 1
            choice = output.with_name(f"{output.name}-{number}")
        taken.add(str(choice).casefold())
        jobs.append(Job(job.source, choice))
    return jobs
