"""Validation in one process and in two real ones, on cut-outs of real photos."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import COLOURS, ENVIRONMENT, PHOTOS, SPEC, Pixels
from pixelwise.bundle import InputSpec
from pixelwise.data import Sample
from pixelwise.labels import ClassTable

pytest.importorskip("torch")

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from pixelwise.losses import CombinedLoss
from pixelwise.processes import leave, make_fabric
from pixelwise.tiling import Tiling
from pixelwise.validation import Validation, validate


@dataclass
class Cuts:
    """Cut-outs of a photo, labelled by their brightness; the darkest pixels are ignored."""

    photo: str
    boxes: Sequence[tuple[int, int, int, int]]
    blank: int | None = None
    classes: ClassTable = COLOURS
    split: str = "val"

    @property
    def ids(self) -> list[str]:
        return [f"{self.photo}{index}" for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> Sample:
        with Image.open(PHOTOS / self.photo) as photo:
            pixels = np.asarray(photo.convert("RGB").crop(self.boxes[index]))
        levels = pixels.mean(axis=2)
        mask = np.where(levels < 30, 255, levels // 64).astype(np.uint8)
        if index == self.blank:
            mask[:] = 255
        return Sample(pixels, mask, self.ids[index])

    def mask(self, index: int) -> Pixels:
        return self[index].mask


def sets() -> list[Cuts]:
    """Seven photos of several sizes; of one, no pixel is labelled."""
    boxes = [(20 * i, 10, 20 * i + 60 + 30 * i, 90 + 7 * i) for i in range(5)]
    return [Cuts("chelsea.png", boxes, blank=2), Cuts("coffee.png", [(0, 0, 90, 120), (100, 50, 164, 98)])]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)
    return nn.Sequential(*layers)


def run(
    fabric: Fabric, *, datasets: Sequence[Cuts] | None = None, spec: InputSpec = SPEC, examples: int = 3
) -> tuple[Validation, list[tuple[int, int]]]:
    advanced: list[tuple[int, int]] = []
    found = validate(
        network(),
        datasets or sets(),
        spec,
        fabric=fabric,
        bf16=False,
        loss=CombinedLoss(dice=0.5),
        examples=examples,
        advance=lambda done, total: advanced.append((done, total)),
    )
    return found, advanced


def told(found: Validation, advanced: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """All of it to the last bit, as JSON."""
    examples = [[sample.id, prediction.tolist()] for sample, prediction in found.examples]
    figures = {"scores": repr(asdict(found.scores)), "loss": found.loss.hex(), "examples": examples}
    return {**figures, "advanced": advanced}


@pytest.fixture(scope="module")
def alone() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def test_each_photo_counts_once_and_a_few_from_all_over_are_kept(alone: Fabric):
    found, advanced = run(alone)
    assert found.scores.images == 7
    assert advanced == [(done, 7) for done in range(1, 8)]
    masks = [sample.mask for dataset in sets() for sample in map(dataset.__getitem__, range(len(dataset)))]
    assert found.scores.scored_pixels == sum(int((mask != 255).sum()) for mask in masks)
    assert found.scores.ignored_pixels == sum(int((mask == 255).sum()) for mask in masks)
    assert [sample.id for sample, _ in found.examples] == ["chelsea.png0", "chelsea.png3", "coffee.png1"]
    assert all(prediction.shape == sample.mask.shape for sample, prediction in found.examples)


def test_counts_and_loss_are_those_of_a_plain_loop(alone: Fabric):
    # As large as the network wants them, so that nothing is scaled or padded.
    plain = Cuts("chelsea.png", [(50, 60, 114, 124), (200, 100, 264, 132), (0, 0, 64, 32)])
    found, _ = run(alone, datasets=[plain])
    module, mean, std = network().eval(), torch.tensor(SPEC.mean), torch.tensor(SPEC.std)
    counts, losses = np.zeros((4, 4), int), []
    for index in range(3):
        sample = plain[index]
        pixels = ((torch.from_numpy(sample.image.copy()) / 255 - mean) / std).permute(2, 0, 1)[None]
        target = torch.from_numpy(sample.mask)[None].long()
        with torch.no_grad():
            logits = module(pixels)
        losses.append(float(CombinedLoss(dice=0.5)(logits, target)))
        np.add.at(counts, (sample.mask[sample.mask != 255], logits.argmax(1)[0].numpy()[sample.mask != 255]), 1)
    iou = counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())
    assert found.scores.mean_iou == pytest.approx(np.nanmean(iou), abs=1e-3)
    assert found.scores.pixel_accuracy == pytest.approx(counts.trace() / counts.sum(), abs=1e-3)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_photos_larger_than_a_tile_are_counted_and_have_no_loss(alone: Fabric):
    spec = InputSpec(mean=SPEC.mean, std=SPEC.std, long_side=Tiling().size + 32, size_multiple=32)
    found, _ = run(alone, datasets=[Cuts("chelsea.png", [(0, 0, 120, 40), (20, 50, 100, 80)])], spec=spec)
    assert found.scores.images == 2
    assert np.isnan(found.loss)
    assert found.scores.scored_pixels + found.scores.ignored_pixels == 120 * 40 + 80 * 30


def test_photos_without_a_label_have_no_score_and_no_loss_to_speak_of(alone: Fabric):
    found, _ = run(alone, datasets=[Cuts("chelsea.png", [(0, 0, 64, 48)], blank=0)])
    assert found.scores.images == 1
    assert found.scores.scored_pixels == 0
    assert np.isnan(found.scores.mean_iou)
    assert found.loss == 0


def test_the_network_is_left_as_it_was(alone: Fabric):
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    for training in (True, False):
        module.train(training)
        validate(module, sets()[1:], SPEC, fabric=alone, bf16=False, loss=CombinedLoss())
        assert module.training == training
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


def test_several_masks_are_seen_without_interpolating_between_classes(alone: Fabric):
    shown: list[Tensor] = []

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        assert logits.shape[2:] == target.shape[1:]
        shown.append(target)
        return logits.mean()

    validate(network(), sets(), SPEC, fabric=alone, bf16=False, loss=loss)
    assert len(shown) == 7
    for target in shown:
        assert max(target.shape[1:]) == 64
        assert set(target.unique().tolist()) <= {0, 1, 2, 3, 255}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_two_processes_find_the_same_to_the_last_bit(alone: Fabric, tmp_path: Path):
    common = ENVIRONMENT | {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
        "TORCHELASTIC_RUN_ID": "test",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
    }
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(out)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    torch.set_num_threads(1)  # as the processes have it
    whole = told(*run(alone))
    first, second = (json.loads(out.read_text()) for out in outs)
    for part in ("scores", "loss"):
        assert first[part] == second[part] == whole[part]
    assert first["examples"] == json.loads(json.dumps(whole["examples"]))
    assert second["examples"] == []
    assert [len(told["advanced"]) for told in (first, second, whole)] == [4, 3, 7]
    assert first["advanced"][-1] == [4, 4]


def main() -> None:
    """One of several processes."""
    fabric = make_fabric("32-true", devices=1, nodes=1)
    assert fabric.world_size == int(os.environ["WORLD_SIZE"]) == 2
    Path(sys.argv[1]).write_text(json.dumps(told(*run(fabric))))
    fabric.barrier()
    leave()


if __name__ == "__main__":
    main()
