"""The real loop, started as a user starts it, on a tiny dataset of real photos."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelwise.bundle import read_bundle
from pixelwise.labels import VOC
from small_runs import fresh_state, small_dataset

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
STEPS = 6
RECIPE = f"""
name: tiny
model: {{encoder_weights: null, freeze: [encoder.conv_stem]}}
input: {{long_side: 96}}
data:
  train: [{{layout: voc, root: voc, split: train}}]
  val: [{{layout: voc, root: voc, split: val}}]
  colours: display
augment: {{crop_size: 64}}
loss: {{dice: 0.5, pixel_stride: 2}}
optimizer: {{warmup_steps: 2, ema_decay: 0.5}}
batch_size: 4
steps: {STEPS}
validate_every: 3
checkpoint_every: 1
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC layout of eight cut-outs of real photos, each with a labelled rectangle."""
    root = tmp_path_factory.mktemp("train")
    small_dataset(root, RECIPE)
    return root


def command(workplace: Path, run: str, *more: str) -> list[str]:
    start = [sys.executable, "-m", "pixelwise", "train", str(workplace / "recipe.yaml")]
    return [*start, "--data-root", str(workplace), "--run", str(workplace / run), *more]


def newest(run: Path) -> tuple[int, dict[str, object]]:
    path = max((run / "checkpoints").glob("step-*.pt"))
    return int(path.stem.split("-")[1]), torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def whole_run(workplace: Path) -> Path:
    done = subprocess.run(command(workplace, "whole"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The best model is in" in done.stdout
    return workplace / "whole"


@pytest.mark.slow
def test_a_run_leaves_log_curves_and_a_model_that_segments(whole_run: Path) -> None:
    log = [json.loads(line) for line in (whole_run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "val_miou" in entry] == [3, 6]
    assert all(np.isfinite(entry["loss"]) for entry in log)
    with Image.open(whole_run / "curves.png") as curves:
        assert curves.width > 100
    bundle = read_bundle(whole_run / "model")
    assert bundle.config.name == "tiny"
    assert bundle.config.classes.names == VOC.names
    assert bundle.config.metrics["voc/val"]["photos"] == 2
    words = [sys.executable, "-m", "pixelwise", "segment", str(EXAMPLES / "chelsea.png"), "--save", "json"]
    out = whole_run / "segmented"
    subprocess.run([*words, "--model", str(bundle.path), "--out", str(out)], check=True, capture_output=True)
    answer = json.loads((out / "chelsea.json").read_text())
    assert (answer["width"], answer["height"]) == (451, 300)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(workplace: Path, whole_run: Path) -> None:
    run = workplace / "killed"
    process = subprocess.Popen(command(workplace, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((run / "checkpoints").glob("step-00000002-*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "model").exists()
    step, _ = newest(run)
    assert step < STEPS
    refused = subprocess.run(command(workplace, "killed"), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    subprocess.run(command(workplace, "killed", "--resume"), check=True, capture_output=True)
    (last, resumed), (whole_last, whole) = newest(run), newest(whole_run)
    assert last == whole_last == STEPS
    for part in ("model", "ema"):
        assert resumed[part].keys() == whole[part].keys()
        assert all(torch.equal(resumed[part][key], whole[part][key]) for key in whole[part])
    states = resumed["optimizer"]["state"], whole["optimizer"]["state"]
    assert all(torch.equal(states[0][i]["exp_avg_sq"], states[1][i]["exp_avg_sq"]) for i in states[1])


@pytest.mark.slow
def test_another_recipe_does_not_go_on_with_a_run(workplace: Path, whole_run: Path) -> None:
    done = subprocess.run(
        command(workplace, "whole", "--resume", "--set", "seed=1"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "another recipe" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.weights=missing.safetensors", "no weights file missing"),
        ("data.val=[{layout: voc, root: voc, split: tset}]", "no split list"),
    ],
)
def test_a_mistake_in_the_recipe_leaves_no_run_behind(workplace: Path, change: str, message: str) -> None:
    done = subprocess.run(
        command(workplace, "mistaken", "--set", change), capture_output=True, text=True, check=False, cwd=workplace
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert not (workplace / "mistaken").exists()


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_a_bundle(workplace: Path, whole_run: Path) -> None:
    weights = whole_run / "model" / "model.safetensors"
    changes = [f"model.weights={weights}", "optimizer.lr=1e-12", "optimizer.encoder_lr=1e-12", "steps=1"]
    sets = [word for change in changes for word in ("--set", change)]
    subprocess.run(command(workplace, "tuned", *sets), check=True, capture_output=True)
    _, start = newest(workplace / "tuned")
    given = load_file(weights)
    for key, tensor in start["model"].items():
        if key in given and "running" not in key:
            torch.testing.assert_close(tensor, given[key], rtol=1e-5, atol=1e-8)


# An architecture with an auxiliary head; in this process, as it is about what a step does.


@pytest.fixture
def first_steps(workplace: Path, tmp_path: Path) -> Any:
    """Trains two steps of a network with an auxiliary head, and gives what each step saw."""
    from pixelwise import train as module

    def run(share: float, **arguments: object) -> dict[str, Any]:
        changes = {
            "model.name": "deeplabv3_mobilenet_v3_large",
            "model.arguments": json.dumps(arguments),
            "model.freeze": "[]",
            "loss": f"{{auxiliary: {share}}}",
            "optimizer": "{warmup_steps: 0, lr: 0.002, encoder_lr: 0.0003}",
            "steps": "2",
            "batch_size": "2",
            "workers": "0",
            "precision": "32-true",
        }
        state = fresh_state(workplace, *(f"{key}={value}" for key, value in changes.items()))
        seen: dict[str, Any] = {"answers": [], "masks": [], "losses": [], "state": state}
        state.model.register_forward_hook(lambda _, __, out: seen["answers"].append(out))
        for images, masks in state.loader():
            seen["masks"].append(masks.long())
            seen["losses"].append(float(module.take_step(state, images, masks)))
            seen.setdefault("rates", [group["lr"] for group in state.optimizer.param_groups])
            state.step += 1
        return seen

    return run


@pytest.mark.slow
def test_the_loss_is_the_main_one_and_a_share_of_the_auxiliary_one(first_steps: Any) -> None:
    from pixelwise.losses import cross_entropy_loss
    from pixelwise.models import WithAuxiliary
    from pixelwise.recipe import Loss

    assert Loss().auxiliary == 0.4
    for share in (0.4, 0.0):
        seen = first_steps(share)
        assert len(seen["losses"]) == 2
        for answer, masks, loss in zip(seen["answers"], seen["masks"], seen["losses"], strict=True):
            assert isinstance(answer, WithAuxiliary)
            main, auxiliary = (float(cross_entropy_loss(each.detach(), masks)) for each in answer)
            assert auxiliary > 0.1
            assert loss == pytest.approx(main + share * auxiliary, rel=1e-5)


@pytest.mark.slow
def test_without_the_auxiliary_head_the_loss_is_the_main_one(first_steps: Any) -> None:
    from pixelwise.losses import cross_entropy_loss

    seen = first_steps(0.4, auxiliary=False)
    pairs = zip(seen["answers"], seen["masks"], strict=True)
    expected = [float(cross_entropy_loss(answer.detach(), masks)) for answer, masks in pairs]
    assert seen["losses"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_backbone_learns_at_the_encoders_rate(first_steps: Any) -> None:
    seen = first_steps(0.4)
    rates = {
        id(parameter): group["peak_lr"]
        for group in seen["state"].optimizer.param_groups
        for parameter in group["params"]
    }
    assert sorted(set(seen["rates"])) == [0.0003, 0.002]
    for name, parameter in seen["state"].module.named_parameters():
        assert rates[id(parameter)] == (0.0003 if name.startswith("backbone.") else 0.002), name


@pytest.mark.slow
def test_a_network_with_an_auxiliary_head_becomes_a_bundle(workplace: Path) -> None:
    changes = ["model.name=deeplabv3_mobilenet_v3_large", "model.freeze=[]", "steps=2", "validate_every=2"]
    sets = [word for change in changes for word in ("--set", change)]
    done = subprocess.run(command(workplace, "auxiliary", *sets), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_bundle(workplace / "auxiliary" / "model").config.architecture == "deeplabv3_mobilenet_v3_large"


@pytest.mark.slow
def test_batch_statistics_of_a_run_follow_within_tens_of_steps(first_steps: Any) -> None:
    from torch.nn import BatchNorm2d

    norms = [part for part in first_steps(0.4)["state"].module.modules() if isinstance(part, BatchNorm2d)]
    assert len(norms) > 40
    assert {norm.momentum for norm in norms} == {0.1}  # 0.01 as torchvision builds the backbone
