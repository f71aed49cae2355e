"""The training stream: which photo comes when, and what chance does to it, as pure functions of (seed, step, index).

A run that was killed at step s starts again at step s and sees what it would have seen, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Sampler, default_collate
from torch.utils.data import Dataset as TorchDataset

from pixelwise.data.sample import Dataset
from pixelwise.data.transforms import TrainTransform
from pixelwise.errors import PixelwiseError
from pixelwise.recipe import Recipe


def class_pixels(
    datasets: Sequence[Dataset], *, advance: Callable[[float], None] = lambda share: None
) -> list[NDArray[np.int64]]:
    """The pixels of each class in each photo of the datasets in turn: int64 (C,), without the ignored ones.

    Reads every mask once, which is also the check that all of them can be read before training starts. `advance` is
    called with 1 for each.
    """

    def count(place: tuple[Dataset, int]) -> NDArray[np.int64]:
        dataset, index = place
        counts = np.bincount(dataset.mask(index).ravel(), minlength=256)[: len(dataset.classes)]
        advance(1)
        return counts

    places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    with ThreadPoolExecutor(max_workers=4) as pool:  # decoding and counting leave the interpreter to others
        return list(pool.map(count, places))


def sampling_factors(
    pixels: Sequence[NDArray[np.int64]], *, class_balance: float, background: bool = True
) -> NDArray[np.float64]:
    """How often each photo should be seen in an epoch, so that rare classes are seen more.

    A share `class_balance` of the draws is class-balanced: a class first, all foreground classes alike, then a photo
    that shows it, in proportion to the square root of the share of the photo that it covers. The other draws take all
    photos alike.

    Args:
        pixels: for each photo, int64 (C,): the number of pixels of each class.
        class_balance: share of the class-balanced draws, 0 to 1.
        background: whether class 0 is the background, which no draw is for.

    Returns:
        float64 (N,), with mean 1.

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020,
    arXiv:1910.09217, section 4.1. Departs: a photo has several classes, so that photos are weighted within a class.
    """
    table = np.stack(pixels).astype(np.float64)
    covered = np.sqrt(table / np.maximum(table.sum(axis=1, keepdims=True), 1))[:, int(background) :]
    covered = covered[:, covered.any(axis=0)]
    alike = np.ones(len(table))
    if not covered.size:
        return alike
    balanced = (covered / covered.sum(axis=0)).mean(axis=1) * len(table)
    factors: NDArray[np.float64] = (1 - class_balance) * alike + class_balance * balanced
    return factors


class StepSampler(Sampler[list[tuple[int, int]]]):
    """The batches of a run, from a given step on.

    An epoch is a fixed number of positions, `ceil(sum(factors))`; systematic sampling gives photo i its share of them,
    rounded up or down, and a permutation shuffles them. Both are drawn from (seed, epoch). The share is factors[i], but
    for the fraction of a position by which the sum was rounded up.

    Args:
        factors: (N,) float, expected number of times each photo comes in an epoch.
        seed: the run's seed.
        batch_size: photos a step, over all processes.
        start_step: the first step to give.
        steps: the step to stop before.
        rank: this process; it gets every `world_size`-th photo of each batch.
        world_size: number of processes.

    Yields:
        a list of (index, position) a step; `position = step * batch_size + slot` seeds the augmentation.
    """

    def __init__(
        self,
        factors: NDArray[np.float64],
        *,
        seed: int,
        batch_size: int,
        start_step: int,
        steps: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.factors, self.seed, self.batch_size = factors, seed, batch_size
        self.start_step, self.steps, self.rank, self.world_size = start_step, steps, rank, world_size

    def __len__(self) -> int:
        return max(0, self.steps - self.start_step)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        size = epoch_size(self.factors)
        for step in range(self.start_step, self.steps):
            batch = []
            for position in range(step * self.batch_size + self.rank, (step + 1) * self.batch_size, self.world_size):
                if position // size != epoch:
                    epoch = position // size
                    order = epoch_order(self.factors, seed=self.seed, epoch=epoch)
                batch.append((int(order[position % size]), position))
            yield batch


def epoch_size(factors: NDArray[np.float64]) -> int:
    """Number of positions in an epoch, the same for every epoch."""
    return int(np.ceil(factors.sum() - 1e-9))


def epoch_order(factors: NDArray[np.float64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The photos of one epoch in order: int64 (epoch_size,) of indices."""
    generator = np.random.default_rng([seed, epoch])
    size = epoch_size(factors)
    points = (generator.random() + np.arange(size)) / size
    cumulative = np.cumsum(factors) / factors.sum()
    indices = np.minimum(np.searchsorted(cumulative, points, side="right"), len(factors) - 1)
    return generator.permutation(indices)


class _Augmented(TorchDataset[tuple[Tensor, Tensor] | PixelwiseError]):
    """Samples by (index, position), augmented under the seed of their position.

    Masks are uint8, as all of them pass through shared memory, of which there is little in a container.
    One that cannot be read is given as its error: of an error that is raised, torch makes one whose message is a
    traceback.
    """

    def __init__(self, dataset: ConcatDataset[object], transform: TrainTransform, seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor] | PixelwiseError:
        index, position = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(self.seed, position))
            try:
                image, mask = self.transform(self.dataset[index])
            except PixelwiseError as error:
                return error
        return image, mask.byte()


def _collate(samples: Sequence[tuple[Tensor, Tensor] | PixelwiseError]) -> tuple[Tensor, Tensor] | PixelwiseError:
    """The samples as a batch, or the first error among them."""
    error = next((sample for sample in samples if isinstance(sample, PixelwiseError)), None)
    return error or tuple(default_collate(list(samples)))


class _TrainLoader(DataLoader[tuple[Tensor, Tensor]]):
    """Raises in this process the errors that its workers give."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        return map(_batch_or_raise, super().__iter__())


def _batch_or_raise(batch: tuple[Tensor, Tensor] | PixelwiseError) -> tuple[Tensor, Tensor]:
    if isinstance(batch, PixelwiseError):
        raise batch
    return batch


def mix(*entropy: int) -> int:
    """A 64-bit seed from integers in [0, 2**32): different for different ones, but for zeros at the end.

    Zeros at the end do not count: mix(3) == mix(3, 0).
    """
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def loader_of_run(
    recipe: Recipe,
    datasets: Sequence[Dataset],
    factors: NDArray[np.float64],
    *,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """The batches of a run, from a given step on: what its network sees.

    Args:
        recipe: of the run.
        datasets: its training data, taken together.
        factors: how often each of their photos should come; see `sampling_factors`.
        start_step: the first step to give.
        rank: this process.
        world_size: number of processes.

    Going through them raises a PixelwiseError where a photo or mask cannot be read.
    """
    sampler = StepSampler(
        factors,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        start_step=start_step,
        steps=recipe.steps,
        rank=rank,
        world_size=world_size,
    )
    ignore_index = datasets[0].classes.ignore_index
    transform = TrainTransform(recipe.augment, fit_size=recipe.input.long_side, ignore_index=ignore_index)
    return train_loader(datasets, transform, sampler, workers=recipe.workers)


def train_loader(
    datasets: Sequence[Dataset], transform: TrainTransform, sampler: StepSampler, *, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of (image uint8 (B, 3, H, W), mask uint8 (B, H, W)) as the sampler orders them.

    The order is over the concatenation of the datasets. Going through them raises a PixelwiseError where a photo or
    mask cannot be read.
    """
    return _TrainLoader(
        _Augmented(ConcatDataset(list(datasets)), transform, sampler.seed),  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        collate_fn=_collate,
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
