from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.data.loader import StepSampler, epoch_order, epoch_size, mix, sampling_factors, train_loader
from pixelwise.data.sample import Sample
from pixelwise.data.transforms import TrainTransform
from pixelwise.labels import VOC
from pixelwise.recipe import Augment

Batches = list[list[tuple[int, int]]]
UNEVEN = np.array([1.0, 2.3, 1.0, 1.7, 1.25, 3.0, 1.1])


class Made:
    """Photos of noise, 20 by 16 pixels."""

    classes, split = VOC, "train"

    def __init__(self, length: int, first: int = 0) -> None:
        self.length, self.first = length, first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng(self.first + index)
        image = generator.integers(0, 256, (20, 16, 3), dtype=np.uint8)
        return Sample(image=image, mask=np.full((20, 16), self.first + index, np.uint8), id=str(index))


def sampler(
    *,
    factors: NDArray[np.float64] = UNEVEN,
    seed: int = 3,
    start: int = 0,
    steps: int = 12,
    rank: int = 0,
    world: int = 1,
) -> StepSampler:
    return StepSampler(factors, seed=seed, batch_size=4, start_step=start, steps=steps, rank=rank, world_size=world)


def batches_of(*, workers: int, start: int = 0, steps: int = 6, seed: int = 3) -> list[tuple[Tensor, Tensor]]:
    transform = TrainTransform(Augment(crop_size=12, colour=0.4, grey=0.3), fit_size=20)
    order = sampler(factors=np.ones(10), start=start, steps=steps, seed=seed)
    return [(i, m) for i, m in train_loader([Made(7), Made(3, first=7)], transform, order, workers=workers)]


def same(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


# Sampling factors.

# Background and three classes: the first in photos 0 and 1, the second in photo 2, the third nowhere.
PIXELS = [np.array(row) for row in ([36, 64, 0, 0], [84, 16, 0, 0], [75, 0, 25, 0], [100, 0, 0, 0])]


def test_sampling_factors_by_hand():
    # Half of the balanced draws take the first class, its photos by sqrt(0.64) : sqrt(0.16) = 2 : 1; half photo 2.
    balanced = np.array([4 / 3, 2 / 3, 2, 0])
    assert sampling_factors(PIXELS, class_balance=1.0) == pytest.approx(balanced)
    assert sampling_factors(PIXELS, class_balance=0.6) == pytest.approx(0.4 + 0.6 * balanced)
    assert sampling_factors(PIXELS, class_balance=0.0).tolist() == [1, 1, 1, 1]


def test_an_epoch_is_as_long_as_without_balance():
    generator = np.random.default_rng(0)
    pixels = list(generator.integers(0, 50, (40, 21)) * (generator.random((40, 21)) < 0.2))
    for balance in (0.0, 0.3, 1.0):
        assert sampling_factors(pixels, class_balance=balance).mean() == pytest.approx(1)


@pytest.mark.parametrize("row", [[100, 0, 0], [0, 0, 0]])
def test_without_any_foreground_all_photos_are_alike(row: list[int]):
    assert sampling_factors([np.array(row)] * 3, class_balance=0.7).tolist() == [1, 1, 1]


# Epochs.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epoch", range(3))
def test_an_epoch_without_repeats_is_a_permutation(seed: int, epoch: int):
    order = epoch_order(np.ones(101), seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(101))
    assert order.tolist() != list(range(101))


def test_each_photo_comes_as_often_as_its_factor_rounded_down_or_up():
    whole_sum = np.append(UNEVEN, math.ceil(UNEVEN.sum()) - UNEVEN.sum() + 1)
    for epoch in range(50):
        counts = np.bincount(epoch_order(whole_sum, seed=0, epoch=epoch), minlength=len(whole_sum))
        assert (np.floor(whole_sum) <= counts).all()
        assert (counts <= np.ceil(whole_sum)).all()


def test_a_sum_that_is_not_whole_is_spread_over_all_photos():
    share = UNEVEN * epoch_size(UNEVEN) / UNEVEN.sum()
    assert epoch_size(UNEVEN) == math.ceil(UNEVEN.sum()) == 12
    for epoch in range(50):
        counts = np.bincount(epoch_order(UNEVEN, seed=0, epoch=epoch), minlength=len(UNEVEN))
        assert counts.sum() == 12
        assert (np.abs(counts - share) < 1).all()


def test_over_many_epochs_each_photo_comes_as_often_as_its_share():
    counts = sum(np.bincount(epoch_order(UNEVEN, seed=1, epoch=e), minlength=len(UNEVEN)) for e in range(400))
    assert counts / 400 == pytest.approx(UNEVEN * 12 / UNEVEN.sum(), abs=0.1)


def test_the_order_is_a_function_of_seed_and_epoch():
    first, again = (epoch_order(UNEVEN, seed=5, epoch=2).tolist() for _ in range(2))
    assert first == again
    assert first != epoch_order(UNEVEN, seed=6, epoch=2).tolist()
    assert first != epoch_order(UNEVEN, seed=5, epoch=3).tolist()


def test_factors_that_add_up_to_a_whole_number_make_no_further_position():
    assert epoch_size(np.full(10, 1.3)) == 13  # 13.000000000000002 in floating point


# Batches.


def test_batches_run_through_the_epochs_and_number_the_positions():
    whole = [pair for batch in sampler() for pair in batch]
    assert [position for _, position in whole] == list(range(48))
    epochs = [epoch_order(UNEVEN, seed=3, epoch=epoch) for epoch in range(4)]
    assert [index for index, _ in whole] == np.concatenate(epochs).tolist()


@pytest.mark.parametrize("start", [1, 3, 7, 11, 12])
def test_a_resumed_sampler_gives_the_tail_of_the_whole(start: int):
    resumed = sampler(start=start)
    assert list(resumed) == list(sampler())[start:]
    assert len(resumed) == 12 - start


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_each_batch_without_overlap(world: int):
    parts: list[Batches] = [list(sampler(rank=rank, world=world)) for rank in range(world)]
    for step, whole in enumerate(sampler()):
        shares = [part[step] for part in parts]
        assert {len(share) for share in shares} == {4 // world}
        assert sorted(pair for share in shares for pair in share) == sorted(whole)


# Tensors.


@pytest.fixture(scope="module")
def plain() -> list[tuple[Tensor, Tensor]]:
    return batches_of(workers=0)


def test_a_batch_has_the_shapes_and_types_that_training_wants(plain: list[tuple[Tensor, Tensor]]):
    image, mask = plain[0]
    assert (image.shape, image.dtype) == ((4, 3, 12, 12), torch.uint8)
    assert (mask.shape, mask.dtype) == ((4, 12, 12), torch.uint8)  # an eighth of what goes through shared memory


def test_the_datasets_are_joined_in_order(plain: list[tuple[Tensor, Tensor]]):
    shown = [{*mask.unique().tolist()} - {255} for _, masks in plain for mask in masks]
    expected = [{index} for batch in sampler(factors=np.ones(10), steps=6) for index, _ in batch]
    assert shown == expected


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(plain: list[tuple[Tensor, Tensor]], workers: int):
    assert same(batches_of(workers=workers), plain)


def test_a_resumed_run_sees_what_it_would_have_seen(plain: list[tuple[Tensor, Tensor]]):
    assert same(batches_of(workers=0, start=4), plain[4:])


def test_the_state_of_chance_outside_changes_nothing(plain: list[tuple[Tensor, Tensor]]):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987)
        assert same(batches_of(workers=0), plain)


def test_another_seed_changes_the_augmentation(plain: list[tuple[Tensor, Tensor]]):
    assert not torch.equal(batches_of(workers=0, seed=4, steps=1)[0][0], plain[0][0])


def test_a_photo_is_changed_anew_each_time_it_comes():
    order = sampler(factors=np.ones(1), steps=1)
    transform = TrainTransform(Augment(crop_size=12, colour=0.4, grey=0), fit_size=20)
    (images, _), *_ = train_loader([Made(1)], transform, order, workers=0)
    assert len({image.numpy().tobytes() for image in images}) == 4


def test_drawing_a_sample_does_not_disturb_the_global_generator():
    transform = TrainTransform(Augment(crop_size=12, colour=0.4, grey=0.3), fit_size=20)
    stream = iter(train_loader([Made(7)], transform, sampler(), workers=0))
    before = torch.get_rng_state()
    next(stream)
    assert torch.equal(torch.get_rng_state(), before)


def test_mixed_seeds_differ_where_the_numbers_do():
    entropies = [(a, b, c) for a in range(6) for b in range(6) for c in range(6)]
    assert len({mix(*entropy) for entropy in entropies}) == len(entropies)
    assert all(0 <= mix(*entropy) < 2**64 for entropy in entropies)
    assert mix(3) == mix(3, 0)
