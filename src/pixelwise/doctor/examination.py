"""The doctor's work: every check on every split, and what comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pixelwise.data import open_dataset, splits, training_splits
from pixelwise.data.pairs import Pairs
from pixelwise.doctor.class_checks import absent_classes, rare_classes, unlabelled_splits
from pixelwise.doctor.duplicate_checks import leaked_photos, near_leaks, repeated_photos, shared_files
from pixelwise.doctor.file_checks import (
    grey_among_colour,
    odd_sizes,
    photo_notes,
    turned_photos,
    unknown_labels,
    unpaired_files,
    unreadable_files,
    wrong_sizes,
)
from pixelwise.doctor.findings import KINDS, SEVERITIES, SPLIT, Advance, Finding, Severity
from pixelwise.doctor.mask_checks import plain_masks, shared_masks, unlike_masks
from pixelwise.doctor.survey import SplitFacts, look_at, rank
from pixelwise.errors import DataError, PixelwiseError

Check = Callable[[Sequence[SplitFacts]], list[Finding]]

_QUICK: tuple[Check, ...] = (unreadable_files, wrong_sizes, unknown_labels, unlabelled_splits, absent_classes)
_MORE: tuple[Check, ...] = (
    unpaired_files,
    turned_photos,
    photo_notes,
    odd_sizes,
    grey_among_colour,
    rare_classes,
    leaked_photos,
    near_leaks,
    repeated_photos,
    plain_masks,
    shared_masks,
    unlike_masks,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The splits of a dataset that can be opened, and findings about those that cannot."""

    datasets: tuple[Pairs, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with some datasets.

    Attributes:
        splits: what was seen, a dataset each.
        findings: the worst first.
        understood: what the layout says of how it understood the files; mostly empty.
    """

    splits: tuple[SplitFacts, ...]
    findings: tuple[Finding, ...]
    understood: tuple[str, ...] = ()

    def groups(self) -> list[tuple[Finding, ...]]:
        """The findings that are of the same severity and kind, together."""
        return [tuple(group) for _, group in groupby(self.findings, lambda finding: (finding.severity, finding.kind))]

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of a severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def verdict(self) -> str:
        """Whether training may start, and if not, why."""
        errors = Counter(finding.kind.title for finding in self.of("error"))
        if not errors:
            return "Training may start."
        return f"Training would fail: {', '.join(f'{title} ({number})' for title, number in errors.items())}."

    def to_json(self) -> dict[str, Any]:
        """Everything, as a JSON-ready object."""
        return {
            "verdict": self.verdict,
            "understood": list(self.understood),
            "splits": [
                {
                    "name": split.name,
                    "pairs": len(split.pairs),
                    "classes": [
                        {"name": name, "pixels": pixels, "photos": photos}
                        for name, pixels, photos in zip(
                            split.classes.names, split.pixels.tolist(), split.photos_with.tolist(), strict=True
                        )
                    ],
                }
                for split in self.splits
            ],
            "findings": [finding.to_json() for finding in self.findings],
        }


def open_all(layout: str, root: Path) -> Opened:
    """Open every split of a dataset on disk, also where files are missing.

    Raises:
        DataError: there is no such layout or directory, or it has no split that can be opened.
    """
    datasets: list[Pairs] = []
    findings, errors = [], []
    for name in sorted(splits(layout, root), key=lambda name: (rank(name), name)):
        try:
            dataset = as_pairs(open_dataset(layout, root, name, check_files=False))
            _check_classes(dataset, (datasets or [dataset])[0])
            datasets.append(dataset)
        except PixelwiseError as error:
            errors.append(error)
            findings.append(Finding(SPLIT, "error", name, (), str(error)))
    if not datasets:
        raise errors[0] if errors else DataError(f"{root} has no split in the layout {layout}.")
    try:
        training_splits(layout, root)
    except DataError as error:
        findings.append(Finding(SPLIT, "warning", "", (), str(error)))
    return Opened(tuple(datasets), tuple(findings))


def as_pairs(dataset: object) -> Pairs:
    """The dataset, if it is one of files.

    Raises:
        DataError: it is not.
    """
    if not isinstance(dataset, Pairs):
        raise DataError(f"{type(dataset).__name__} is no dataset of pairs of files, which is all that can be examined.")
    return dataset


def _check_classes(dataset: Pairs, first: Pairs) -> None:
    """Refuse a split whose ids stand for other classes than those of the first."""
    if dataset.classes == first.classes:
        return
    names, others = dataset.classes.names, first.classes.names
    lacking, added = (", ".join(name for name in a if name not in b) for a, b in ((others, names), (names, others)))
    told = "; ".join(filter(None, (lacking and f"it lacks {lacking}", added and f"only it has {added}")))
    raise DataError(
        f"{dataset.split} has other classes than {first.split} ({told or 'in another order'}), so that an id does not "
        "stand for the same class in both; give both the same list."
    )


def examine(
    datasets: Sequence[Pairs], *, found: Sequence[Finding] = (), advance: Advance = lambda share: None
) -> Diagnosis:
    """Look at every file of some datasets, and say what is wrong.

    Args:
        datasets: the splits of a dataset, opened with `check_files=False`. They are sent to other processes: a script
            that calls this needs the usual `if __name__ == "__main__":`.
        found: what was found when they were opened.
        advance: called with 1 after each pair.
    """
    facts = look_at(datasets, deep=True, advance=advance)
    understood = dict.fromkeys(dataset.finding for dataset in datasets if dataset.finding)
    return Diagnosis(facts, _sorted([*found, *_findings(facts, (*_QUICK, *_MORE))]), tuple(understood))


def quick_check(datasets: Sequence[Pairs], *, advance: Advance = lambda share: None) -> Diagnosis:
    """What would stop a training, or make it vain, as far as masks and the photos' headers tell.

    Args:
        datasets: those to learn from and those to be measured on, opened with `check_files=False`.
        advance: called with 1 after each pair.
    """
    facts = look_at(datasets, deep=False, advance=advance)
    return Diagnosis(facts, _sorted(_findings(facts, (*_QUICK, shared_files))))


def _findings(facts: Sequence[SplitFacts], checks: Sequence[Check]) -> list[Finding]:
    """What the checks find; of a file that is in several splits, each thing once."""
    found = [finding for check in checks for finding in check(facts)]
    return list({(finding.kind, finding.sentence): finding for finding in reversed(found)}.values())[::-1]


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), KINDS.index(one.kind))))
