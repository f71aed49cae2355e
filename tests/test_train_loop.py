"""The loop in this process, on a network that takes seconds: going on, stopping, and what a step does."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision

from helpers import ENVIRONMENT, pixelwise
from pixelwise.bundle import read_bundle
from pixelwise.configure import Choice
from pixelwise.errors import PixelwiseError, RecipeError
from pixelwise.plan import Plan
from pixelwise.recipe import load_recipe
from pixelwise.run_directory import RunDirectory, read_log
from pixelwise.run_page import write_run_page
from pixelwise.train import take_step, train
from small_runs import Listener, differences, fresh_state, small_dataset


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    small_dataset(root)
    return root


def go(workplace: Path, run: Path, *overrides: str, resume: bool = False) -> list[str]:
    """Train; gives what was said meanwhile."""
    watcher = Listener()
    recipe = load_recipe(workplace / "recipe.yaml", overrides)
    fabric = Fabric(accelerator="cpu", devices=1, precision=recipe.precision)
    train(Plan(recipe), data_root=workplace, run=run, fabric=fabric, resume=resume, watcher=watcher)
    return watcher.said


@pytest.fixture(scope="module")
def whole_run(workplace: Path) -> Path:
    go(workplace, workplace / "whole")
    return workplace / "whole"


@pytest.fixture(scope="module")
def commanded_run(workplace: Path) -> Path:
    """The same by the command line: another test in this process may have changed how many threads torch takes."""
    pixelwise("train", "recipe.yaml", "--data-root", ".", "--run", "commanded", cwd=workplace)
    return workplace / "commanded"


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*.pt"))


def interrupted(whole: Path, run: Path) -> Path:
    """A copy of a run as it was when it was killed in its last step, before its end was written."""
    shutil.copytree(whole, run)
    checkpoints(run)[-1].unlink()
    shutil.rmtree(run / "model")
    return run


@pytest.mark.slow
def test_the_page_of_a_run_tells_how_good_the_model_is_and_shows_how_it_came_to_be(
    workplace: Path, whole_run: Path, tmp_path: Path
):
    page = (whole_run / "report.html").read_text(encoding="utf-8")
    metrics = read_bundle(whole_run / "model").config.metrics["voc/val"]
    best = max(
        (entry for entry in read_log(whole_run / "log.jsonl") if "val_miou" in entry), key=lambda e: e["val_miou"]
    )
    assert f"Mean IoU {metrics['mean IoU']:.3f} on the validation photos, at step {best['step']} of 6." in page
    assert f'<td>cat</td><td class="number">{metrics["IoU"]["cat"]:.3f}</td>' in page
    assert '<td>aeroplane</td><td class="number">undefined</td>' in page
    assert page.count('src="data:image/') == 1 + len({2, best["step"], 6})  # curves; first, best and last answers
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")  # works offline
    assert "Why it was set so" not in page
    chosen = Plan(load_recipe(workplace / "recipe.yaml"), (Choice("steps", 6, "<b>few</b> photos"),))
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    chosen.write(RunDirectory(run))
    told = write_run_page(RunDirectory(run), read_bundle(run / "model")).read_text(encoding="utf-8")
    assert "<td>steps</td><td>6</td><td>&lt;b&gt;few&lt;/b&gt; photos</td>" in told


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(
    workplace: Path, commanded_run: Path, tmp_path: Path, workers: int
):
    """The moment is another one in every test run; `benchmarks/kills.py` draws fifty of them."""
    run = tmp_path / "run"
    words = ["train", "recipe.yaml", "--data-root", ".", "--run", str(run), "--set", f"workers={workers}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelwise", *words],
        cwd=workplace,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (run / "recipe.yaml").exists():
        time.sleep(0.01)
    moment = random.uniform(0, 4)  # seconds; what comes after the last step takes the longer part of them
    print(f"killed {moment:.2f} s after its first step")  # told where the test fails
    time.sleep(moment)
    process.kill()
    _, errors = process.communicate()
    assert (run / "recipe.yaml").exists(), errors
    pixelwise(*words, "--resume", cwd=workplace)
    assert not differences(commanded_run, run, names=("log.jsonl", "best.safetensors", "model/model.onnx"))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_aloud_and_the_end_is_the_same(
    workplace: Path, whole_run: Path, tmp_path: Path
):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    older, newest = checkpoints(run)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    said = go(workplace, run, resume=True)
    assert any(str(newest) in text and "damaged" in text for text in said)
    assert any(f"Goes on from step 5 ({older.name})" in text for text in said)
    assert RunDirectory(run).seconds() > RunDirectory(whole_run).seconds() > 0
    assert len(checkpoints(run)) == 2  # the damaged one gave way to one of the same step
    assert older in checkpoints(run)
    assert not differences(whole_run, run)


@pytest.mark.slow
def test_a_run_that_goes_on_from_a_whole_checkpoint_says_nothing_of_damage(
    workplace: Path, whole_run: Path, tmp_path: Path
):
    said = go(workplace, interrupted(whole_run, tmp_path / "run"), resume=True)
    assert not any("damaged" in text or "changed" in text for text in said)
    assert not differences(whole_run, tmp_path / "run")


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_data(workplace: Path, whole_run: Path, tmp_path: Path):
    run = interrupted(whole_run, tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(workplace / "voc", other / "voc")
    shutil.copy(workplace / "recipe.yaml", other)
    names = other / "voc" / "ImageSets" / "Segmentation" / "train.txt"
    names.write_text(names.read_text().rpartition("\n")[0])
    before = (run / "log.jsonl").read_bytes()
    with pytest.raises(RecipeError, match="data changed since the run was started"):
        go(other, run, resume=True)
    assert (run / "log.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_run_that_goes_on_with_other_masks_says_so(workplace: Path, whole_run: Path, tmp_path: Path):
    run = interrupted(whole_run, tmp_path / "run")
    shutil.copytree(workplace / "voc", tmp_path / "other" / "voc")
    shutil.copy(workplace / "recipe.yaml", tmp_path / "other")
    masks = tmp_path / "other" / "voc" / "SegmentationClass"
    shutil.copy(masks / "coffee1.png", masks / "chelsea1.png")
    said = go(tmp_path / "other", run, resume=True)
    assert any(text.startswith("Warning: The masks to learn from, or what is stated of them, changed") for text in said)


@pytest.mark.slow
def test_a_run_stops_early_where_validations_get_no_better(workplace: Path, tmp_path: Path):
    # Next to nothing is learned, and the average of the weights hardly moves: no validation beats the first.
    still = ["optimizer.lr=1e-12", "optimizer.encoder_lr=1e-12", "patience=2", "steps=40"]
    said = go(workplace, tmp_path / "run", *still)
    assert "Stops early: no better mean IoU for 2 validations." in said
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert [entry["step"] for entry in log if "val_miou" in entry] == [2, 4, 6]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_deterministic_refuses_what_is_not_and_changes_nothing_here(workplace: Path, whole_run: Path, tmp_path: Path):
    try:
        go(workplace, tmp_path / "run", "deterministic=true")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == (whole_run / "log.jsonl").read_bytes()


def test_a_service_that_is_not_installed_leaves_no_run_behind(workplace: Path, tmp_path: Path):
    with pytest.raises(PixelwiseError, match="mlflow, which is not installed"):
        go(workplace, tmp_path / "run", "log_to=[mlflow]")
    assert not (tmp_path / "run").exists()


def one_update(workplace: Path, *overrides: str) -> tuple[float, dict[str, Any]]:
    """The loss of a step on photos all of whose pixels are labelled, and how far each weight moved."""
    given = ["model.arguments.dropout=0", "optimizer.warmup_steps=0", "loss={pixel_stride: 1}", *overrides]
    # Steps of plain gradient descent: Adam's first step is the gradient's sign, whatever its size.
    state = fresh_state(workplace, *given, "optimizer.name=sgd", "optimizer.lr=0.1", "optimizer.weight_decay=0")
    before = {name: parameter.detach().clone() for name, parameter in state.module.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    masks = torch.randint(0, 21, (4, 32, 32), dtype=torch.uint8, generator=generator)
    loss = float(take_step(state, images, masks))
    return loss, {name: parameter.detach() - before[name] for name, parameter in state.module.named_parameters()}


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_a_batch_in_parts_makes_nearly_the_same_update(workplace: Path, parts: int):
    loss, moved = one_update(workplace)
    loss_in_parts, moved_in_parts = one_update(workplace, f"accumulate={parts}")
    assert loss_in_parts == pytest.approx(loss, rel=1e-5)
    assert max(float(each.abs().max()) for each in moved.values()) > 1e-4
    for name, each in moved.items():
        torch.testing.assert_close(moved_in_parts[name], each, rtol=1e-3, atol=1e-6, msg=name)


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(workplace: Path):
    state = fresh_state(workplace)
    with torch.no_grad():
        next(state.module.parameters()).fill_(float("inf"))
    images, masks = next(iter(state.loader()))
    with pytest.raises(PixelwiseError, match=r"The loss is (nan|inf) at step 0; lower optimizer\.lr"):
        take_step(state, images, masks)


def test_a_gradient_that_is_not_finite_ends_the_run_with_advice(workplace: Path):
    state = fresh_state(workplace)
    weight = next(state.module.parameters())
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight.detach().clone()
    images, masks = next(iter(state.loader()))
    with pytest.raises(PixelwiseError, match=r"The gradient's norm is (nan|inf) at step 0; lower optimizer\.lr"):
        take_step(state, images, masks)
    assert torch.equal(weight, before)


def test_a_step_that_overflows_in_float16_is_left_out(workplace: Path):
    """On a processor, where pixelwise refuses it, as the arithmetic of its scaler is the same."""
    too_large = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    fabric = Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", device="cpu", scaler=too_large))
    state = fresh_state(workplace, "optimizer.warmup_steps=0", fabric=fabric)
    state.recipe = state.recipe.model_copy(update={"precision": "16-mixed"})
    weight, (images, masks) = next(state.module.parameters()), next(iter(state.loader()))
    before = weight.detach().clone()
    take_step(state, images, masks)
    assert torch.equal(weight, before)
    assert too_large.get_scale() == 2.0**99
    too_large.update(1.0)
    take_step(state, images, masks)
    assert not torch.equal(weight, before)


@pytest.mark.slow
def test_a_crop_too_small_for_batch_normalisation_is_one_sentence_and_the_directory_stays_free(
    workplace: Path, tmp_path: Path
):
    run, settings = tmp_path / "run", ("model={name: unet, encoder_weights: null}", "accumulate=4")
    with pytest.raises(PixelwiseError, match="Batch normalisation has a single value to go by; raise"):
        go(workplace, run, *settings, "augment.crop_size=32")
    RunDirectory(run).check("name: another", resume=False)


def test_a_crop_too_large_for_the_memory_is_one_sentence_and_the_directory_stays_free(workplace: Path, tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(PixelwiseError, match="not enough memory for this training; lower batch_size"):
        go(workplace, run, "augment.crop_size=99999999")
    RunDirectory(run).check("name: another", resume=False)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_breaks_off_is_one_sentence_whoever_reads_it(tmp_path: Path, workers: int):
    small_dataset(tmp_path)
    photo = tmp_path / "voc" / "JPEGImages" / "chelsea1.jpg"
    photo.write_bytes(photo.read_bytes()[:-1000])  # its header is whole, so that the check of the data passes it
    words = ["train", "recipe.yaml", "--data-root", ".", "--run", "run", "--set", f"workers={workers}"]
    _, errors = pixelwise(*words, cwd=tmp_path, status=2)
    (said,) = (line for line in errors.splitlines() if line.startswith("pixelwise: "))
    assert "chelsea1.jpg" in said
    assert "DataLoader" not in errors


def little_shared_memory() -> list[str]:
    """What runs a command where /dev/shm has 2 MB, as it has 64 in Docker; skips the test where that cannot be had."""
    mounted = 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounted, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode != 0:
        pytest.skip("nothing may be mounted here")
    return command


@pytest.mark.slow
def test_little_shared_memory_is_one_sentence(workplace: Path, tmp_path: Path):
    words = ["train", "recipe.yaml", "--data-root", ".", "--run", str(tmp_path), "--set", "augment.crop_size=1024"]
    before = little_shared_memory()
    _, errors = pixelwise(*words, "--set", "workers=1", cwd=workplace, status=2, before=before)
    assert "ran out of memory; give the container more shared memory (Docker: --shm-size=2g), or" in errors


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("DataLoader worker (pid 71) is killed by signal: Bus error. It is possible", "--set workers=0"),
        ("DataLoader worker (pid 71) is killed by signal: Killed. ", "--set workers=0"),
        (
            "nll_loss2d_forward_out_cuda_template does not have a deterministic implementation, but you set",
            "PyTorch's nll_loss2d_forward_out_cuda_template gives .*; set deterministic to false",
        ),
    ],
)
def test_what_pytorch_raises_is_told_with_what_helps(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str, told: str
):
    def fail(*_: object) -> None:
        raise RuntimeError(raised)

    monkeypatch.setattr("pixelwise.train._loop", fail)
    with pytest.raises(PixelwiseError, match=told):
        go(workplace, tmp_path / "run")


def test_a_run_goes_on_without_the_weights_that_it_started_from(workplace: Path, whole_run: Path, tmp_path: Path):
    start, run = tmp_path / "start.safetensors", tmp_path / "run"
    shutil.copy(whole_run / "best.safetensors", start)
    go(workplace, run, f"model.weights={start}")
    whole = (run / "best.safetensors").read_bytes()
    shutil.rmtree(run / "model")
    checkpoints(run)[-1].unlink()
    start.unlink()
    go(workplace, run, f"model.weights={start}", resume=True)
    assert (run / "best.safetensors").read_bytes() == whole


def test_each_validation_dataset_has_its_figures(workplace: Path, tmp_path: Path):
    both = "data.val=[{layout: voc, root: voc, split: val}, {layout: voc, root: other, split: val}]"
    shutil.copytree(workplace / "voc", workplace / "other")
    (workplace / "other" / "ImageSets" / "Segmentation" / "val.txt").write_text("chelsea0\n")
    go(workplace, tmp_path / "run", both, "steps=2")
    metrics = read_bundle(tmp_path / "run" / "model").config.metrics
    assert {name: each["photos"] for name, each in metrics.items()} == {"voc/val of voc": 2, "voc/val of other": 1}


def test_the_log_of_a_run(whole_run: Path):
    log = [json.loads(line) for line in (whole_run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert all(("val_miou" in entry) == ("train_miou" in entry) == (entry["step"] % 2 == 0) for entry in log)
    assert log[1]["lr"] == pytest.approx(1e-3)


def test_a_run_takes_no_more_threads_than_the_container_has_cores(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("pixelwise.train.cores", lambda: 1)
    try:
        go(workplace, tmp_path / "run", "steps=1", "validate_every=1")
        assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        monkeypatch.setattr("pixelwise.train.cores", lambda: 64)
        go(workplace, tmp_path / "other", "steps=1", "validate_every=1")
        assert torch.get_num_threads() == 2  # of OMP_NUM_THREADS, for one
    finally:
        torch.set_num_threads(before)
