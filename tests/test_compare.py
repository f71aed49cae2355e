from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

import numpy as np
import pytest

from helpers import COLOURS, SCENE_CLASSES, SPEC, ColourEngine, colourful_photo
from pixelwise.bootstrap import Interval, bootstrap_mean_iou, bootstrap_mean_iou_difference
from pixelwise.bundle import BundleConfig
from pixelwise.compare import Comparison, Contender, compare, disputed, grouped, seed_of
from pixelwise.data import Sample
from pixelwise.errors import DataError, EngineError, MaskError
from pixelwise.evaluate import evaluate
from pixelwise.figures import Counts, Draws, Figures, draws, mean_of_trainings
from pixelwise.labels import ClassTable
from pixelwise.segmenter import Segmenter
from pixelwise.significance import permutation_test


class NoisyEngine(ColourEngine):
    """Answers by chance where its noise is larger than the colours' difference."""

    def __init__(self, noise: float, seed: int = 0) -> None:
        super().__init__()
        self._noise, self._seed = noise, seed

    def __call__(self, images: np.ndarray) -> np.ndarray:
        logits = super().__call__(images)
        generator = np.random.default_rng((self._seed, int(abs(images).sum() * 1000)))
        return logits + generator.normal(0, self._noise, logits.shape).astype(np.float32)


@dataclass
class Truth:
    """Photos whose ground truth is what the noiseless engine answers; some of it ignored, one photo damaged."""

    photos: int = 12
    damaged: int | None = None
    classes: ClassTable = COLOURS
    split: str = "val"

    @property
    def ids(self) -> list[str]:
        return [f"photo-{i}" for i in range(self.photos)]

    def __len__(self) -> int:
        return self.photos

    def __getitem__(self, index: int) -> Sample:
        if index == self.damaged:
            raise MaskError(f"photo-{index}.png is damaged.")
        photo = colourful_photo(40, 64, seed=index)
        mask, _ = segmenter(0).predict(photo)
        mask[:3] = 255
        return Sample(photo, mask, self.ids[index])


def segmenter(noise: float, *, seed: int = 0, classes: ClassTable = COLOURS) -> Segmenter:
    return Segmenter(NoisyEngine(noise, seed), classes, SPEC)


def contenders(*noises: float) -> list[Contender]:
    return [Contender(f"noise {noise} #{i}", segmenter(noise, seed=i)) for i, noise in enumerate(noises)]


@pytest.fixture(scope="module")
def three() -> Comparison:
    return compare(contenders(0.5, 2.0, 2.0), Truth())


def test_each_model_is_measured_as_by_itself(three: Comparison):
    for found, contender in zip(three.evaluations, contenders(0.5, 2.0, 2.0), strict=True):
        alone = evaluate(contender.segmenter, [Truth()])
        np.testing.assert_array_equal(found.per_image, alone.per_image)
        np.testing.assert_array_equal(found.counts.reliability, alone.counts.reliability)
        assert found.ids == alone.ids


def test_differences_are_those_of_the_paired_bootstrap(three: Comparison):
    for pair in three.pairs:
        better, worse = (three.evaluations[three.standings[i].members[0]].per_image for i in (pair.better, pair.worse))
        assert pair.mean_iou == bootstrap_mean_iou_difference(worse, better)
        assert pair.mean_iou.estimate >= 0
        assert pair.chance == permutation_test(better, worse)
    assert [three.standings[i].name for pair in three.pairs for i in (pair.better, pair.worse)][:2] == [
        "noise 0.5 #0",
        "noise 2.0 #1",
    ]
    for standing, evaluation in zip(three.standings, three.evaluations, strict=True):
        assert standing.figures.overall["mean_iou"] == bootstrap_mean_iou(evaluation.per_image)


def test_words_say_what_the_photos_can_tell(three: Comparison):
    clear, other, close = three.pairs
    assert clear.told_apart
    assert other.told_apart
    assert not close.told_apart
    value = clear.mean_iou
    assert clear.corrected == pytest.approx(3 * 2 / 2**12, abs=0.001)  # of all exchanges two are as extreme
    assert three.verdicts()[0] == (
        f"noise 0.5 #0 is better than noise 2.0 #1 by {100 * value.estimate:.1f} points of mean IoU (95 % interval "
        f"{100 * value.low:.1f} to {100 * value.high:.1f}, p {clear.corrected:.3f})."
    )
    assert "cannot be told apart on these 12 photos: " in three.verdicts()[2]
    assert "\N{MINUS SIGN}" in three.verdicts()[2]
    assert three.verdicts_of_best() == three.verdicts()[:2]


def test_a_difference_below_a_tenth_of_a_point_is_said_as_it_is(three: Comparison):
    pair = replace(three.pairs[0], difference=Figures({"mean_iou": Interval(0.0003, 0.0001, 0.0006)}, {}))
    said = replace(three, pairs=(pair,)).verdicts()[0]
    assert "by 0.03 points of mean IoU (95 % interval 0.01 to 0.1, " in said
    pair = replace(pair, difference=Figures({"mean_iou": Interval(0.0003, -0.0001, 0.0006)}, {}))
    said = replace(three, pairs=(pair,)).verdicts()[0]
    assert ": 0.03 points of mean IoU apart (95 % interval \N{MINUS SIGN}0.01 to 0.1, " in said


def test_a_model_does_not_differ_from_itself_by_anything():
    same = [Contender("one", segmenter(1.0)), Contender("other", segmenter(1.0))]
    found = compare(same, Truth())
    (pair,) = found.pairs
    values = [*pair.difference.overall.values(), *(v for each in pair.difference.per_class.values() for v in each)]
    for value in values:
        assert math.isnan(value.estimate) or (value.estimate, value.low, value.high) == (0, 0, 0)
    assert (pair.mean_iou.low, pair.mean_iou.high, pair.chance, pair.corrected) == (0, 0, 1, 1)
    assert pair.alike
    assert not pair.told_apart
    assert found.verdicts() == ["one and other answer alike on these 12 photos."]
    assert not found.disagreement.any()


def test_many_pairs_are_corrected_for_being_many():
    """Eight models that are equally good: of their 28 pairs none is called different."""
    found = compare(contenders(*[1.5] * 8), Truth(photos=8))
    assert len(found.pairs) == 28
    assert all(pair.corrected >= pair.chance for pair in found.pairs)
    assert not any(pair.told_apart for pair in found.pairs)


def test_disagreement_is_the_share_of_labelled_pixels_that_not_all_answer_alike(three: Comparison):
    sample = Truth()[4]
    answers = [contender.segmenter.predict(sample.image)[0] for contender in contenders(0.5, 2.0, 2.0)]
    apart = sum(
        len({int(answer[row, column]) for answer in answers}) > 1
        for row, column in np.argwhere(sample.mask != 255).tolist()
    )
    assert three.disagreement[4] == pytest.approx(apart / (sample.mask != 255).sum())
    assert disputed([answers[0], answers[0]]).sum() == 0


def test_a_damaged_pair_costs_itself_and_is_listed_for_all():
    found = compare(contenders(0.5, 1.0), Truth(photos=5, damaged=2))
    for evaluation in found.evaluations:
        assert evaluation.ids == ("photo-0", "photo-1", "photo-3", "photo-4")
        assert evaluation.failed == (("photo-2", "photo-2.png is damaged."),)
    assert len(found.disagreement) == 4


def test_what_cannot_be_compared_says_why():
    with pytest.raises(DataError, match=r"^other: The dataset has no class cat, dog, sea, which the model has"):
        compare([*contenders(0.5), Contender("other", segmenter(1, classes=SCENE_CLASSES))], Truth())
    with pytest.raises(DataError, match="no photo to compare"):
        compare(contenders(0.5, 1.0), Truth(photos=0))
    with pytest.raises(DataError, match=r"No photo of 1 can be measured; the first: photo-0\.png is damaged"):
        compare(contenders(0.5, 1.0), Truth(photos=1, damaged=0))


def test_models_of_different_classes_take_their_own_part_of_the_mapping():
    """One model knows the dataset's classes; the other calls them otherwise, in another order."""
    other = ClassTable(("background", "grass", "rose", "sky"), COLOURS.colours)

    class Renamed(ColourEngine):
        weights = ColourEngine.weights[[0, 2, 1, 3]]
        bias = ColourEngine.bias[[0, 2, 1, 3]]

    models = [Contender("own", segmenter(0)), Contender("other", Segmenter(Renamed(), other, SPEC))]
    mapping = {"grass": "green", "rose": "red", "sky": "blue"}
    found = compare(models, Truth(photos=3), mapping=mapping)
    assert found.verdicts() == ["own and other answer alike on these 3 photos."]
    with pytest.raises(DataError, match=r"^own: 'lawn' is none of the model's classes"):
        compare(models, Truth(photos=3), mapping={**mapping, "lawn": "green"})


def test_a_model_that_cannot_run_is_no_damaged_photo():
    class Broken(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            raise EngineError("out of order")

    with pytest.raises(EngineError, match="out of order"):
        compare([*contenders(0.5), Contender("broken", Segmenter(Broken(), COLOURS, SPEC))], Truth())


# Several trainings of one recipe.


def trainings(*told: tuple[str, str | None, int | None]) -> list[Contender]:
    return [Contender(name, segmenter(1.0), recipe, seed) for name, recipe, seed in told]


def test_trainings_of_one_recipe_with_different_seeds_are_one_model():
    told = trainings(("a-0", "A", 0), ("b-0", "B", 0), ("a-1", "A", 1), ("unknown", None, None), ("a-2", "A", 2))
    assert grouped(told) == [("a-0 (3 trainings)", (0, 2, 4)), ("b-0", (1,)), ("unknown", (3,))]


def test_the_same_training_twice_is_not_two_trainings():
    told = trainings(("a", "A", 0), ("copy", "A", 0), ("b", "B", 0))
    assert grouped(told) == [("a", (0,)), ("copy", (1,)), ("b", (2,))]


def test_trainings_of_a_single_recipe_are_compared_with_each_other():
    assert grouped(trainings(("a-0", "A", 0), ("a-1", "A", 1))) == [("a-0", (0,)), ("a-1", (1,))]


def test_models_that_nothing_is_known_of_stand_for_themselves():
    assert grouped(trainings(("a", None, None), ("b", None, 1))) == [("a", (0,)), ("b", (1,))]


def test_several_trainings_count_with_their_mean_and_their_spread():
    noisy = [replace(each, recipe="A", seed=i) for i, each in enumerate(contenders(1.0, 2.0, 3.0))]
    found = compare([*noisy, Contender("still", segmenter(0.8))], Truth())
    group, still = found.standings
    means = [evaluation.scores.mean_iou for evaluation in found.evaluations[:3]]
    value = group.figures.overall["mean_iou"]
    assert value.estimate == pytest.approx(np.mean(means))
    widths = [bootstrap_mean_iou(evaluation.per_image) for evaluation in found.evaluations[:3]]
    assert value.high - value.low > 2 * max(each.high - each.low for each in widths)  # the seeds differ far more
    assert still.name == "still"
    (pair,) = found.pairs
    assert pair.mean_iou.estimate == pytest.approx(found.evaluations[3].scores.mean_iou - np.mean(means))


@pytest.mark.parametrize(
    ("recipes", "said"),
    [
        ("ABC", "Of each model there is one training: the intervals speak of other photos, not of its next training."),
        ("AAB", "Of model 2 there is one training: the intervals speak of other photos, not of its next training."),
        ("ABCC", "Of model 0 and model 1 there is one training: the intervals speak of"),
        ("AABB", "The intervals speak of other photos and of other trainings of the same recipes."),
    ],
)
def test_it_is_said_where_an_interval_knows_nothing_of_other_trainings(recipes: str, said: str):
    made = contenders(*(0.5 + 0.1 * i for i in range(len(recipes))))
    named = [replace(each, name=f"model {i}", recipe=recipes[i], seed=i) for i, each in enumerate(made)]
    assert compare(named, Truth(photos=2)).scope().startswith(said)


@pytest.mark.parametrize(("photos", "few"), [(1, False), (2, True), (49, True), (50, False)])
def test_it_is_said_where_the_photos_are_too_few_for_the_intervals(photos: int, few: bool):
    assert (
        compare(contenders(0.5, 1.0), Truth(photos)).scope().endswith(" Of so few photos they are too narrow.") == few
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_trainings_of_two_recipes_do_not_belong_together_in_pairs(order: tuple[int, ...]):
    one, other = contenders(1.0, 2.0, 3.0), contenders(1.1, 2.1, 3.1)
    both = [replace(one[i], recipe="A", seed=i) for i in range(3)]
    both += [replace(other[i], name=f"other {i}", recipe="B", seed=i) for i in order]
    found = compare(both, Truth())
    (pair,), group = found.pairs, found.standings[0].figures.overall["mean_iou"]
    # Nearly all doubt is from the seeds. Two as wide ones add up to sqrt(2) of one, and as there are 4 degrees of
    # freedom and not 2, Student's t reaches to 2.776 and not to 4.303 (any book's table).
    wide = math.sqrt(2) * 2.776 / 4.303 * (group.high - group.low)
    assert pair.mean_iou.high - pair.mean_iou.low == pytest.approx(wide, rel=0.1)


def test_the_mean_of_trainings_is_that_of_each_draw(three: Comparison):
    parts = [draws(evaluation.counts, resamples=100, seed=5) for evaluation in three.evaluations]
    found = mean_of_trainings(parts)
    for key, values in found.samples.items():
        for resample in (0, 50, 99):
            drawn = np.stack([part.samples[key][resample] for part in parts])
            np.testing.assert_allclose(values[resample], drawn.mean(axis=0), equal_nan=True)
    values = [float(part.estimates["mean_iou"]) for part in parts]
    assert found.variances["mean_iou"] == pytest.approx(statistics.variance(values) / 3)
    assert found.doubts["mean_iou"] == pytest.approx((statistics.variance(values) / 3) ** 2 / 2)
    assert mean_of_trainings(parts[:1]) is parts[0]


def test_two_trainings_that_know_next_to_nothing_still_give_fractions():
    generator = np.random.default_rng(0)
    apart = mean_of_trainings([draws(counted(10, accuracy, generator), resamples=100) for accuracy in (0.6, 0.9)])
    value, same = apart.figures().overall["mean_iou"], (apart - apart).figures().overall["mean_iou"]
    assert (value.low, value.high) == (0, 1)
    assert (same.low, same.high) == (-1, 1)


def counted(photos: int, accuracy: float, generator: np.random.Generator) -> Counts:
    """Two classes; what is right in a photo spreads a little, and nothing but the confusion matters."""
    made = np.zeros((photos, 2, 2), np.int64)
    for i, right in enumerate(np.clip(generator.normal(accuracy, 0.05, photos), 0, 1)):
        for c in range(2):
            made[i, c, c] = generator.binomial(500, right)
            made[i, c, 1 - c] = 500 - made[i, c, c]
    return Counts(made, np.ones((photos, 2, 2), int), np.ones((photos, 4, 2), int), np.ones((photos, 3, 15)))


@pytest.mark.parametrize("trainings", [2, 3])
def test_of_two_recipes_that_are_alike_few_are_called_different(trainings: int):
    """Where seeds move the figure more than photos do, and the photos alone would swear to a difference."""
    generator = np.random.default_rng(trainings)

    def recipe() -> Draws:
        parts = [counted(40, 0.8 + generator.normal(0, 0.03), generator) for _ in range(trainings)]
        return mean_of_trainings([draws(part, resamples=100) for part in parts])

    differences = [recipe() - recipe() for _ in range(200)]
    apart = [each.figures().overall["mean_iou"].low > 0 for each in differences]
    apart = [
        each or value.figures().overall["mean_iou"].high < 0 for each, value in zip(apart, differences, strict=True)
    ]
    assert np.mean(apart) < 0.085
    assert np.mean([each.chance("mean_iou") < 0.05 for each in differences]) < 0.085
    assert np.mean([each.chance("mean_iou") < 0.5 for each in differences]) > 0.3  # nor is nothing ever found


def test_where_photos_would_do_but_trainings_do_not_it_is_those_that_are_too_few():
    made = [replace(each, recipe="A", seed=i) for i, each in enumerate(contenders(0.5, 3.0))]
    made += [replace(each, name=f"other {i}", recipe="B", seed=i) for i, each in enumerate(contenders(2.0, 4.0))]
    found = compare(made, Truth())
    assert not found.pairs[0].told_apart
    assert (
        "noise 0.5 #0 (2 trainings) and other 0 (2 trainings) cannot be told apart by so few trainings: "
        in (found.verdicts()[0])
    )


def test_a_difference_that_no_seed_makes_is_seen(three: Comparison):
    made = [replace(each, recipe="A", seed=i) for i, each in enumerate(contenders(0.5, 0.52, 0.51))]
    made += [replace(each, name=f"other {i}", recipe="B", seed=i) for i, each in enumerate(contenders(2.0, 2.02, 2.01))]
    found = compare(made, Truth())
    (pair,) = found.pairs
    assert pair.told_apart
    assert "noise 0.5 #0 (3 trainings) is better than other 0 (3 trainings) by" in found.verdicts()[0]


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (1, 3), (3, 2)])
def test_five_photos_tell_recipes_apart_no_more_than_they_do_models(ours: int, theirs: int):
    """Two of the 32 exchanges of photos are as extreme as what was seen; drawn anew, five photos seem to be sure."""
    noises = {"A": [0.5, 0.52, 0.51][:ours], "B": [2.0, 2.02, 2.01][:theirs]}
    made = [
        replace(each, name=f"{recipe} {i}", recipe=recipe, seed=i)
        for recipe, own in noises.items()
        for i, each in enumerate(contenders(*own))
    ]
    found = compare(made, Truth(photos=5))
    (pair,) = found.pairs
    assert pair.mean_iou.low > 0
    assert pair.chance == pytest.approx(2 / 2**5, abs=0.01)
    assert not pair.told_apart
    assert "cannot be told apart on these 5 photos: " in found.verdicts()[0]


def test_what_was_exported_of_a_training_is_no_other_training_of_its_recipe():
    def config(seed: int, **graph: str) -> BundleConfig:
        told = {"recipe sha256 but for the seed": "abc", "seed": seed}
        return BundleConfig("a", "unet", {}, COLOURS, SPEC, told, **graph)

    int8 = {"form": "openvino", "precision": "int8"}
    configs = [config(0, **int8), config(0), config(1), config(1, **int8)]
    told = [Contender(name, segmenter(1.0), *seed_of(each)) for name, each in zip("abcd", configs, strict=True)]
    assert grouped(told) == [("a (2 trainings)", (0, 3)), ("b (2 trainings)", (1, 2))]


def test_of_one_photo_there_is_no_interval():
    found = compare(contenders(0.5, 2.0), Truth(photos=1))
    (pair,) = found.pairs
    for each in (pair.mean_iou, found.standings[0].figures.overall["mean_iou"]):
        assert not math.isnan(each.estimate)
        assert math.isnan(each.low)
        assert math.isnan(each.high)
    assert not pair.told_apart
    points = 100 * pair.mean_iou.estimate
    assert found.verdicts() == [
        f"noise 0.5 #0 and noise 2.0 #1 cannot be told apart on this one photo: {points:.1f} points of mean IoU apart "
        "(p 1.00)."
    ]


def test_seeds_are_read_from_where_a_model_comes_from():
    def config(**provenance: object) -> BundleConfig:
        return BundleConfig("a", "unet", {}, COLOURS, SPEC, provenance)

    assert seed_of(config(**{"recipe sha256 but for the seed": "abc", "seed": 3})) == ("abc", 3)
    assert seed_of(config(seed="3")) == (None, None)
