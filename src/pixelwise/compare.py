"""Comparing models on the same photos: which is better, by how much, and whether these photos can tell at all.

Two models are called different where two things agree: the 95 % interval of their difference in mean IoU, by a paired
bootstrap over photos, excludes 0, and a permutation test finds less than 5 % chance of it, after Holm's correction for
all pairs that were compared. Where there are several trainings of a recipe, interval and chance also know how far these
lie apart. docs/comparing.md has the reasons.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixelwise.bootstrap import Interval, interval
from pixelwise.bundle import RECIPE, SEED, BundleConfig
from pixelwise.confusion import ratio
from pixelwise.data.sample import Dataset, Sample, for_each
from pixelwise.errors import DataError
from pixelwise.evaluate import Counter, Evaluation, Predictor, predictor
from pixelwise.figures import FEW_PHOTOS, Draws, Figures, draws, in_points, mean_of_trainings
from pixelwise.labels import ClassTable
from pixelwise.matching import REST
from pixelwise.segmenter import Advance, Segmenter
from pixelwise.significance import holm, permutation_test

CHANCE = 0.05
"""From which p-value on two models are not called different."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model to compare.

    Attributes:
        name: what to call it; no two alike.
        segmenter: ready to run.
        recipe: what several trainings of one recipe have in common; None for a model that nothing is known of.
        seed: of its training.
    """

    name: str
    segmenter: Segmenter
    recipe: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A model, or several trainings of one recipe, which count as one.

    Attributes:
        name: what to call it.
        members: positions of its trainings among the contenders.
        draws: its figures, of several trainings their mean.
    """

    name: str
    members: tuple[int, ...]
    draws: Draws

    @property
    def figures(self) -> Figures:
        """With their intervals; of several trainings, these speak of the recipe."""
        return self.draws.figures()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two standings, and how they differ.

    Attributes:
        better: position of the one with the greater mean IoU; of two alike the one that was named first.
        worse: of the other.
        difference: figures of the better one minus those of the worse.
        chance: p-value of their difference in mean IoU.
        corrected: the same by Holm, for all pairs.
        alike: whether every photo's confusion matrix is the same.
        few_trainings: whether the photos alone would tell these trainings apart, were there no others of their recipes.
    """

    better: int
    worse: int
    difference: Figures
    chance: float
    corrected: float
    alike: bool
    few_trainings: bool

    @property
    def mean_iou(self) -> Interval:
        """The difference that the verdict is about."""
        return self.difference.overall["mean_iou"]

    @property
    def told_apart(self) -> bool:
        """Whether these photos tell the two apart; see the head of the file."""
        return self.mean_iou.low > 0 and self.corrected < CHANCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        names: of the contenders.
        evaluations: of each contender, all of the same photos.
        standings: in the order in which they were named.
        pairs: every two of them.
        disagreement: (N,), for each photo the share of its labelled pixels on which the contenders do not all agree.
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    disagreement: NDArray[np.float64]

    def verdicts(self) -> list[str]:
        """A sentence a pair."""
        return [self._verdict(pair) for pair in self.pairs]

    def verdicts_of_best(self) -> list[str]:
        """Those of the pairs that the standing with the greatest mean IoU is in."""
        means = [float(standing.draws.estimates["mean_iou"]) for standing in self.standings]
        best = max(range(len(means)), key=lambda i: -math.inf if math.isnan(means[i]) else means[i])
        return [self._verdict(pair) for pair in self.pairs if best in (pair.better, pair.worse)]

    def scope(self) -> str:
        """A sentence on what the intervals speak of: another training moves a figure, too, which one cannot show."""
        few = " Of so few photos they are too narrow." if 1 < len(self.evaluations[0].ids) < FEW_PHOTOS else ""
        once = [standing.name for standing in self.standings if len(standing.members) == 1]
        if not once:
            return f"The intervals speak of other photos and of other trainings of the same recipes.{few}"
        who = "each model" if len(once) == len(self.standings) else " and ".join(once)
        return f"Of {who} there is one training: the intervals speak of other photos, not of its next training.{few}"

    def _verdict(self, pair: Pair) -> str:
        better, worse = (self.standings[i].name for i in (pair.better, pair.worse))
        count = len(self.evaluations[0].ids)
        photos = f"these {count} photos" if count > 1 else "this one photo"
        if pair.alike:
            return f"{better} and {worse} answer alike on {photos}."
        value = pair.mean_iou
        sure = f"95 % interval {in_points(value.low)} to {in_points(value.high)}, " if value.is_known else ""
        sure += f"p {_probability(pair.corrected)}"
        if pair.told_apart:
            return f"{better} is better than {worse} by {in_points(value.estimate)} points of mean IoU ({sure})."
        where = "by so few trainings" if pair.few_trainings else f"on {photos}"
        return (
            f"{better} and {worse} cannot be told apart {where}: {in_points(value.estimate)} points of mean "
            f"IoU apart ({sure})."
        )


def compare(
    contenders: Sequence[Contender],
    dataset: Dataset,
    *,
    mapping: Mapping[str, str] | None = None,
    advance: Advance = lambda share: None,
) -> Comparison:
    """Show every photo to all models and see how they differ; a pair that cannot be read is listed and left out.

    Args:
        contenders: two at least.
        dataset: the photos with their masks.
        mapping: what classes of the models count as, see `pixelwise.matching.match_classes`; each model takes of it
            what names a class of its own.
        advance: called with 1 after each photo, for a progress bar.

    Raises:
        DataError: a model's classes are not the dataset's and the mapping does not say what counts as what, or there is
            no photo that can be measured.
        EngineError: a model cannot be run.
    """
    predictors = predictors_of(contenders, dataset.classes, mapping)
    if not len(dataset):
        raise DataError("There is no photo to compare the models on.")
    counters = [Counter(dataset.classes) for _ in contenders]
    ids: list[str] = []
    disagreement: list[float] = []

    def count(sample: Sample) -> None:
        answers = [predict(sample.image) for predict in predictors]
        for counter, (mask, confidence) in zip(counters, answers, strict=True):
            counter.add(sample.mask, mask, confidence, name=sample.id)
        ids.append(sample.id)
        labelled = sample.mask != dataset.classes.ignore_index
        masks = [mask for mask, _ in answers]
        disagreement.append(float(ratio((disputed(masks) & labelled).sum(), labelled.sum())))

    failed = for_each(dataset, count, advance=advance)
    if not ids:
        raise DataError(f"No photo of {len(failed)} can be measured; the first: {failed[0][1]}")
    evaluations = tuple(
        Evaluation(each.matrix, each.counts(), tuple(ids), dataset.classes, tuple(failed)) for each in counters
    )
    standings = tuple(
        Standing(name, members, mean_of_trainings([draws(evaluations[i].counts) for i in members]))
        for name, members in grouped(contenders)
    )
    names = tuple(contender.name for contender in contenders)
    return Comparison(names, evaluations, standings, _pairs(standings, evaluations), np.array(disagreement))


def predictors_of(
    contenders: Sequence[Contender], classes: ClassTable, mapping: Mapping[str, str] | None = None
) -> list[Predictor]:
    """Each contender's answers in the classes of a dataset; see `compare`.

    Raises:
        DataError: as `compare` says; the message names the model.
    """
    known = {name for contender in contenders for name in contender.segmenter.classes.names} | {REST}
    found = []
    for contender in contenders:
        own = {*contender.segmenter.classes.names, REST}
        given = {name: target for name, target in (mapping or {}).items() if name in own or name not in known}
        try:
            found.append(predictor(contender.segmenter, classes, given))
        except DataError as error:
            raise DataError(f"{contender.name}: {error}") from error
    return found


def disputed(answers: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Where not all answers are the same: class ids uint8 (H, W) each -> (H, W)."""
    found: NDArray[np.bool_] = np.any([answer != answers[0] for answer in answers[1:]], axis=0)
    return found


def seed_of(config: BundleConfig) -> tuple[str | None, int | None]:
    """What a model's trainings of one recipe have in common, and its own seed; None where it does not say.

    What was exported of a training is another model: it has its form and precision in common with its like.
    """
    recipe, seed = (config.provenance.get(key) for key in (RECIPE, SEED))
    exported = "" if config.form == "onnx" else f", {config.form} in {config.precision}"
    return (f"{recipe}{exported}" if recipe else None), (seed if isinstance(seed, int) else None)


def grouped(contenders: Sequence[Contender]) -> list[tuple[str, tuple[int, ...]]]:
    """The contenders by recipe, each with a name; those of the same recipe have different seeds.

    Where that would leave a single group, every contender stands for itself: then its seeds are what is compared.
    """
    groups: dict[str, list[int]] = {}
    for index, contender in enumerate(contenders):
        key = contender.recipe or contender.name
        seeds = [contenders[i].seed for i in groups.get(key, [])]
        if contender.seed is None or contender.seed in seeds:
            key = f"{key} {index}"
        groups.setdefault(key, []).append(index)
    if len(groups) == 1:
        return [(contender.name, (index,)) for index, contender in enumerate(contenders)]
    return [
        (contenders[members[0]].name + (f" ({len(members)} trainings)" if len(members) > 1 else ""), tuple(members))
        for members in groups.values()
    ]


def _pairs(standings: Sequence[Standing], evaluations: Sequence[Evaluation]) -> tuple[Pair, ...]:
    found = []
    for first, second in itertools.combinations(range(len(standings)), 2):
        means = [float(standings[i].draws.estimates["mean_iou"]) for i in (first, second)]
        better, worse = (second, first) if means[1] > means[0] else (first, second)
        of_better, of_worse = ([evaluations[i].per_image for i in standings[side].members] for side in (better, worse))
        one, *others = *of_better, *of_worse
        difference = standings[better].draws - standings[worse].draws
        # Of several trainings, a photo's answers change hands all together, and each side weighs as much as the other.
        by_photos = permutation_test(len(of_worse) * np.sum(of_better, 0), len(of_better) * np.sum(of_worse, 0))
        # That takes what a training happened to become for what its recipe is; the other trusts few photos too much.
        chance = max(by_photos, difference.chance("mean_iou")) if len(others) > 1 else by_photos
        alike = all(np.array_equal(one, other) for other in others)
        of_photos = interval(float(difference.estimates["mean_iou"]), difference.samples["mean_iou"])
        few = len(others) > 1 and of_photos.low > 0 and by_photos < CHANCE
        found.append(Pair(better, worse, difference.figures(), chance, chance, alike, few))
    corrected = holm([pair.chance for pair in found])
    return tuple(replace(pair, corrected=own) for pair, own in zip(found, corrected, strict=True))


def _probability(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
