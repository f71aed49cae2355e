"""Segmenting many photos: what the inputs stand for, where the results go, and one bad file costing that file only."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixelwise.decoding import Source
from pixelwise.errors import ImageError, PixelwiseError
from pixelwise.images import find_images
from pixelwise.labels import ClassShare
from pixelwise.segmentation import SUFFIXES, output_paths, prepare_outputs
from pixelwise.segmenter import Advance, Segmenter

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to segment.

    Attributes:
        source: its path, or "-" for standard input.
        output: what the names of its results begin with, relative to the output directory.
    """

    source: str
    output: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job; without the pixels, so that thousands of them can be kept.

    Attributes:
        job: what was to be done.
        classes: found in the photo, the largest first.
        notes: what was done to the photo while reading it.
        files: written.
        error: why there is nothing of the above.
    """

    job: Job
    classes: tuple[ClassShare, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    error: PixelwiseError | None = None


def plan(inputs: Sequence[str], *, out: Path) -> tuple[list[Job], list[Outcome]]:
    """Resolve inputs to photos.

    Args:
        inputs: files, folders (searched with all their subfolders, whose structure the results keep), glob patterns,
            or "-" for standard input.
        out: the output directory; files inside it that are called as results are, such as `cat_mask.png`, come from an
            earlier run and are left out of folders and patterns.

    Returns:
        the photos in order, each once, and the inputs that stand for none.
    """
    found: dict[str, Job] = {}  # by what makes a photo the same, the first mention counts
    failures = []
    for given in inputs:
        try:
            for source, output in _resolve(given, out):
                identity = source if source == STANDARD_INPUT else str(Path(source).absolute())
                found.setdefault(identity, Job(source, output))
        except PixelwiseError as error:
            failures.append(Outcome(Job(given, Path(Path(given).stem)), error=error))
    return _distinct(found.values()), failures


def run(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    *,
    out: Path,
    what: Sequence[str],
    opacity: float,
    force: bool,
    advance: Advance = lambda share: None,
) -> Iterator[Outcome]:
    """Segment photos one after the other, and save the results.

    Args:
        segmenter: the model.
        jobs: from `plan`.
        out: the output directory.
        what: some of `pixelwise.segmentation.SAVEABLE`.
        opacity: as for `Segmentation.overlay`.
        force: write over files that are there.
        advance: called with shares of a photo as they are done, one in all for each photo, for a progress bar.

    Yields:
        an outcome a job. A photo that cannot be read, or whose results cannot be written, is one with an error.

    Raises:
        OutputError: before the first photo: files are there already and `force` is off, or a directory is not writable.
    """
    prepare_outputs([path for job in jobs for path in _paths(job, out, what).values()], force=force)
    for job in jobs:
        done: list[float] = []

        def count(share: float, done: list[float] = done) -> None:
            done.append(share)
            advance(share)

        outcome = _run_one(segmenter, job, out=out, what=what, opacity=opacity, advance=count)
        advance(1 - sum(done))  # a photo of one tile, or one that failed
        yield outcome


def _run_one(
    segmenter: Segmenter, job: Job, *, out: Path, what: Sequence[str], opacity: float, advance: Advance
) -> Outcome:
    name = "standard input" if job.source == STANDARD_INPUT else None
    try:
        result = segmenter(_standard_input() if name else job.source, name=name, advance=advance)
        target = out / job.output
        files = result.save(target.parent, stem=target.name, what=what, opacity=opacity, force=True)
    except PixelwiseError as error:
        return Outcome(job, error=error)
    except MemoryError:
        return Outcome(job, error=ImageError(f"{job.source}: there is not enough memory for a photo of this size."))
    return Outcome(job, result.classes, result.notes, tuple(files))


def _standard_input() -> Source:
    if sys.stdin is None:  # closed by whoever started us
        raise ImageError("There is no standard input to read a photo from.")
    return sys.stdin.buffer


def _paths(job: Job, out: Path, what: Sequence[str]) -> dict[str, Path]:
    target = out / job.output
    return output_paths(target.parent, target.name, what)


def _resolve(given: str, out: Path) -> Iterator[tuple[str, Path]]:
    """The photos that one input stands for, each with what the names of its results begin with."""
    path = Path(given)
    if given == STANDARD_INPUT:
        yield given, Path("stdin")
    elif not given:  # Path("") is the current directory, which nobody means by it
        raise ImageError("An input is empty; name a photo, a folder, a pattern or -.")
    elif _is(Path.is_dir, path):
        photos = _without_results(find_images(path, recursive=True), out)
        if not photos:
            raise ImageError(f"{given}: there is no photo in this folder or below it.")
        for photo in photos:
            yield str(photo), photo.relative_to(path).with_suffix("")
    elif _is(Path.exists, path) or not glob.has_magic(given):
        yield given, Path(path.stem)  # a missing file is for the reader to complain about
    else:
        found = glob.glob(given, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        matches = sorted(path for path in map(Path, found) if _is(Path.is_file, path))
        matches = _without_results(matches, out)
        if not matches:
            raise ImageError(f"{given}: no file matches this pattern.")
        for match in matches:
            yield str(match), Path(match.stem)


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    try:
        return question(path)
    except OSError:  # pathlib lets some through, such as that the name is too long
        return False


def _without_results(photos: Sequence[Path], out: Path) -> list[Path]:
    """The photos but for the results of an earlier run."""
    directory, results = out.resolve(), tuple(SUFFIXES.values())
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
