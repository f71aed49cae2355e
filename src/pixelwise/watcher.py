"""What a training run tells whoever looks on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands after a step.

    Attributes:
        step: steps taken; steps: steps in all.
        loss: mean over the steps since the last report.
        images_per_second: likewise, over all processes.
        val: mean IoU on the validation data where this step was validated, 0 to 1.
        best: the best of them so far.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    val: float | None
    best: float | None


class Watcher:
    """Whoever looks on while a run goes; a progress bar overrides what it wants to know."""

    def stage(self, what: str, total: int) -> None:
        """Something long begins, of `total` parts."""

    def advance(self, share: float) -> None:
        """So many parts of it are done."""

    def progress(self, progress: Progress) -> None:
        """Steps were taken."""

    def validating(self, done: int, total: int) -> None:
        """Of the photos to validate on in between, so many were seen by this process."""

    def say(self, text: str) -> None:
        """Something that people should know."""
