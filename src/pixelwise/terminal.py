"""The terminal: consoles, and progress bars. Results go to standard output, the rest to error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from pixelwise.watcher import Progress, Watcher

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


def console(*, stderr: bool = False) -> Console:
    """A console that prints file names as they are, whatever brackets and colons are in them."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def print_failures(err: Console, failed: Sequence[tuple[str, str]], done: int, what: str) -> None:
    """Print why photos failed, and how many beside those done could not be `what`."""
    for _, reason in failed:
        err.print(f"pixelwise: {reason}", soft_wrap=True)
    if failed:
        err.print(f"{len(failed)} of {len(failed) + done} photos could not be {what}.", soft_wrap=True)


@contextmanager
def progress_bar(total: int, what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error with time left, where that is a terminal; gives what advances it."""
    if not shown or not sys.stderr.isatty():
        yield lambda share: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda share: bar.advance(task, share)


@contextmanager
def download_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar a file, on standard error where that is a terminal.

    Gives the function that is told a file's name, the bytes so far, and all.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=terminal, disable=not terminal.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=done, total=total)

        yield report


@contextmanager
def training_progress(*, shown: bool = True) -> Iterator[Watcher]:
    """A progress bar on standard error with loss, validation score, speed and time left."""
    if not shown:
        yield Watcher()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    terminal = console(stderr=True)
    with Bar(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        yield _Bar(bar)


class _Bar(Watcher):
    """Shows a run on rich's progress bar; a stage begins a new one."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def stage(self, what: str, total: int) -> None:
        if self._task is not None:
            self._bar.stop_task(self._task)
            self._bar.update(self._task, visible=False)
        self._task = self._bar.add_task(what, total=total or None)

    def advance(self, share: float) -> None:
        if self._task is not None:
            self._bar.advance(self._task, share)

    def progress(self, progress: Progress) -> None:
        best = "" if progress.best is None else f"  best mIoU {progress.best:.3f}"
        text = f"loss {progress.loss:.3f}{best}  {progress.images_per_second:.1f} images/s"
        if self._task is not None:
            self._bar.update(self._task, completed=progress.step, description=text)
        if progress.val is not None:
            self.say(f"step {progress.step}: loss {progress.loss:.3f}, val mIoU {progress.val:.4f}")

    def validating(self, done: int, total: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=f"validating: photo {done} of {total}")

    def say(self, text: str) -> None:
        self._bar.console.print(text)
