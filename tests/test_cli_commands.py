from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers import DEFAULT_BUNDLE, ENVIRONMENT, bound_by_permissions, pixelwise, small_photo
from pixelwise import load
from pixelwise.bundle import read_bundle, write_bundle
from pixelwise.cli import main
from pixelwise.cli_evaluate import compare
from pixelwise.masks import read_index_mask

COMMANDS = (
    "segment",
    "evaluate",
    "compare",
    "audit",
    "advise",
    "serve",
    "train",
    "doctor",
    "describe",
    "models",
    "info",
    "export",
)


def without(packages: Sequence[str], code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code that has `main(*arguments)` for the command line, as if packages were not installed."""
    head = f"""
import sys
sys.modules.update(dict.fromkeys({list(packages)}))
from pixelwise.cli import main as run

def main(*arguments):
    sys.argv = ["pixelwise", *arguments]
    try:
        run()
    except SystemExit as stop:
        print("status", stop.code or 0)
"""
    return subprocess.run(
        [sys.executable, "-c", head + code], cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=600,
        check=True,
    )  # fmt: skip


# Usage, help, and what goes without torch.


def test_wrong_usage_is_explained_and_does_nothing(tmp_path: Path):
    small_photo(tmp_path / "a.png")
    cases = {
        ("segment", "a.png", "--save", "mask,sound"): "--save takes some of mask,overlay,panel,json, not 'mask,sound'",
        ("segment", "a.png", "--save", ","): "--save takes some of mask,overlay,panel,json",
        ("segment", "a.png", "--size", "31"): "--size takes a number of pixels from 32 to 65535",
        ("segment", "a.png", "--size", "9" * 5000): "--size takes a number of pixels from 32 to 65535",
        ("segment", "a.png", "--size", "big"): "`native` or `auto`, not 'big'",
        ("segment", "a.png", "--opacity", "nan"): "--opacity",
        ("export", "default", "--max-drop", "nan"): "'--max-drop': nan is not a number.",
        ("advise", "--max-latency-ms", "nan"): "'--max-latency-ms': nan is not a number.",
        ("export", "deeplabv3_resnet50"): "deeplabv3_resnet50 has to be converted once, which needs torch",
        ("export", "default", "--out", "x" * 300): "cannot be written: File name too long",
        ("segment", "a.png", "--opacity", "2"): "--opacity",
        ("segment", "a.png", "--engine", "magic"): "--engine",
        ("segment", "a.png", "--engine", "onnxruntime", "--precision", "bf16"): "choose the engine openvino for bf16",
        ("segment",): "Missing argument",
        ("evaluate", "default", "--data", "absent"): "There is no directory absent",
        ("compare", "default", "default", "--data", "absent"): "There is no directory absent",
        ("compare", "default", "--data", "."): "Comparing takes two models at least",
        ("evaluate", "default", "--data", "."): "no folder or file is named as one of masks",
        ("sing",): "sing",
        (): "Usage",
    }
    # All in one interpreter: that many starts of Python would take long.
    calls = "".join(f"main(*{arguments!r})\nprint('=====')\n" for arguments in cases)
    done = without(["torch"], "sys.stderr = sys.stdout\n" + calls, cwd=tmp_path)
    answers = done.stdout.split("=====\n")[:-1]
    for (arguments, message), answer in zip(cases.items(), answers, strict=True):
        assert message in " ".join(answer.split()), arguments
        assert answer.endswith("status 2\n"), arguments
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_help_and_the_list_of_models_need_no_torch(tmp_path: Path):
    code = "".join(f"main({name!r}, '--help')\nprint('=====')\n" for name in COMMANDS)
    done = without(["torch"], code + "main('--help')\nmain('--version')\nmain('models')\n", cwd=tmp_path)
    assert done.stderr == ""
    *helps, rest = done.stdout.split("=====\n")
    for name, text in zip(COMMANDS, helps, strict=True):
        assert f"Usage: pixelwise {name}" in text
        assert text.endswith("status 0\n")
        if name != "models":
            assert "Examples:" in text
            assert f"\n  pixelwise {name} " in text or f"\n    pixelwise {name} " in text
    assert all(name in rest for name in COMMANDS)
    assert "pixelwise 0." in rest
    assert "default" in rest
    assert "unet on" in rest


def test_training_without_torch_says_what_to_install(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    done = without(["torch"], "main('train', 'recipe.yaml')\n", cwd=tmp_path)
    assert done.stdout == "status 2\n"
    assert "Training needs torch, which is not installed; `pip install 'pixelwise[train]'` brings it." in done.stderr


def test_describing_without_torch_says_what_to_install(tmp_path: Path):
    done = without(["torch"], "main('describe', 'segnet')\n", cwd=tmp_path)
    assert done.stdout == "status 2\n"
    assert "Describing needs torch, which is not installed; `pip install 'pixelwise[train]'` brings it." in done.stderr


# Describing.


def test_an_architecture_is_described_and_drawn(tmp_path: Path):
    out, err = pixelwise("describe", "segnet", "--diagram", "segnet.svg", cwd=tmp_path)
    assert err == ""
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "segnet, for a photo of 512 x 512 pixels" in rows
    assert "encoder.conv1 2 × 3×3 conv 64x512x512 1 39 k 10.1 G 128.0" in rows
    assert "total 29.5 M 163 G 621.5" in rows
    assert "output stride 32, of the coarsest map" in rows
    assert "receptive field 212 x 212 pixels through windows" in rows
    assert "arXiv:1511.00561, Figure 2" in out
    assert rows[-1] == "-> segnet.svg"
    picture = (tmp_path / "segnet.svg").read_bytes()
    assert b"pooling indices" in picture

    _, err = pixelwise("describe", "segnet", "--diagram", "segnet.svg", cwd=tmp_path, status=2)
    assert err == "pixelwise: segnet.svg exists already; choose another file, or --force.\n"
    assert (tmp_path / "segnet.svg").read_bytes() == picture
    arguments = ("--diagram", "segnet.svg", "--force", "--size", "96x160", "--num-classes", "2")
    out, _ = pixelwise("describe", "segnet", *arguments, cwd=tmp_path)
    assert "2x96x160" in out
    assert (tmp_path / "segnet.svg").read_bytes() != picture
    assert [path.name for path in tmp_path.iterdir()] == ["segnet.svg"]


def test_an_architecture_is_described_with_other_arguments(tmp_path: Path):
    out, _ = pixelwise("describe", "unet", "--set", "encoder=resnet18", "--set", "dropout=0", cwd=tmp_path)
    assert "encoder: resnet18" in out
    assert "dropout: 0" in out
    assert "2 × basic" in out
    assert "imagenet: timm resnet18" in out
    out, _ = pixelwise("describe", "deeplabv3_resnet50", cwd=tmp_path)
    assert "2.37 M parameters, of an auxiliary head" in out
    assert "and the whole photo through means" in out
    assert "rate 36" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segnt",), "There is no architecture 'segnt'; did you mean segnet? "),
        (("segnet", "--diagram", "a.gif"), "a.gif has the suffix '.gif'; a diagram is one of .svg, .png, .pdf."),
        (("segnet", "--diagram", "no/a.svg"), "There is no directory no to write a.svg to."),
        (
            ("segnet", "--size", "1x2x3"),
            "--size takes a number of pixels, or HEIGHTxWIDTH such as 512x768, not '1x2x3'.",
        ),
        (("segnet", "--size", "-1"), "--size takes a number of pixels"),
        (("segnet", "--size", "0"), "The size is 0 x 0; expected 1 to 65536 pixels a side."),
        (("segnet", "--num-classes", "1"), "num_classes is 1; expected 2 or more"),
        (("segnet", "--set", "width=3"), "segnet takes no argument 'width'; it takes: none but num_classes."),
        (("unet", "--set", "width"), "'width' is not of the form key=value."),
        (("unet", "--set", "encoder=["), "The value of 'encoder=[' is not valid YAML."),
    ],
)
def test_what_cannot_be_described_is_explained(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pixelwise", "describe", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith(f"pixelwise: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# Evaluating.


def answered_photos(root: Path) -> None:
    """Two photos in VOC's layout, and for ground truth what the default model answers."""
    (root / "SegmentationClass").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("one\ntwo\n")
    segmenter = load(engine="onnxruntime")
    for name, box in (("one", (60, 0, 300, 200)), ("two", (0, 0, 150, 250))):
        small_photo(root / "JPEGImages" / f"{name}.jpg", box=box)
        segmenter(root / "JPEGImages" / f"{name}.jpg").save(root / "SegmentationClass", what=["mask"])
        (root / "SegmentationClass" / f"{name}_mask.png").rename(root / "SegmentationClass" / f"{name}.png")


def test_evaluating_against_a_models_own_answers_finds_no_mistake(tmp_path: Path):
    answered_photos(tmp_path / "VOC")
    arguments = ("evaluate", "default", "--data", "VOC", "--engine", "onnxruntime", "--save", "figures.json")
    further = ("--over", "cat, cat", "--csv", "figures.csv", "--html", "page.html")
    out, err = pixelwise(*arguments, *further, cwd=tmp_path)
    assert err == ""
    assert "2 photos" in out
    assert "cat" in out
    assert re.search(r"^pixel accuracy +1\.000 +\(1\.000 to 1\.000\)$", out, re.MULTILINE)
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["images"] == 2
    assert figures["mean_iou"] == figures["pixel_accuracy"] == 1
    assert figures["subset"] == {"mean IoU over cat": {"value": 1.0, "low": 1.0, "high": 1.0}}
    assert figures["about"]["data"] == "VOC, split val"
    assert not {"layout", "options of the layout"} & set(figures["about"])
    assert "\nmean IoU over cat,,1.0,1.0,1.0\n" in (tmp_path / "figures.csv").read_text(encoding="utf-8")
    assert "<td>mean IoU over cat</td><td>1.000</td>" in (tmp_path / "page.html").read_text(encoding="utf-8")

    out, err = pixelwise(*arguments, cwd=tmp_path, status=2)
    assert err == "pixelwise: figures.json exists already; choose another file.\n"
    assert out == ""
    _, err = pixelwise(*arguments[:4], "--over", "unicorn", cwd=tmp_path, status=2)
    assert err.startswith("pixelwise: There is no class unicorn; there are: background, ")
    (tmp_path / "locked").mkdir(mode=0o500)
    words = (*arguments[:-1], "locked/figures.json")
    _, err = pixelwise(*words, cwd=tmp_path, status=2, before=bound_by_permissions())
    assert err == "pixelwise: The directory locked cannot be written to.\n"
    pixelwise(*arguments[:-1], "told.json", "--layout", "voc", cwd=tmp_path)
    assert json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))["about"]["layout"] == "voc"


def test_torch_evaluates_where_the_other_engines_are_not_installed(tmp_path: Path):
    answered_photos(tmp_path / "VOC")
    arguments = ["evaluate", "default", "--data", "VOC", "--engine", "torch", "--save", "figures.json"]
    done = without(["onnxruntime", "openvino"], f"main(*{arguments})\n", cwd=tmp_path)
    assert done.stdout.endswith("status 0\n"), done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["pixel_accuracy"] == pytest.approx(1, abs=1e-4)
    assert figures["about"]["engine"] == "torch, fp32"


def test_comparing_with_another_size_and_with_itself(tmp_path: Path):
    answered_photos(tmp_path / "VOC")
    own = read_bundle(DEFAULT_BUNDLE)
    spec = replace(own.config.input_spec, long_side=96)
    graph, weights = own.graph.read_bytes(), own.weights.read_bytes()
    write_bundle(tmp_path / "coarse" / "model", replace(own.config, input_spec=spec), graph=graph, weights=weights)
    arguments = ("compare", "default", "coarse/model", "default", "--data", "VOC", "--engine", "onnxruntime")
    out, err = pixelwise(*arguments, "--save", "all.json", "--html", "all.html", cwd=tmp_path)
    assert err == ""
    assert "default and default #2 answer alike on these 2 photos." in out
    assert "ms: a photo's pixels to its mask, median, onnxruntime, fp32." in out
    assert "Of each model there is one training: the intervals speak of other photos, not of its next training." in out
    saved = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in saved["models"]] == ["default", "coarse", "default #2"]
    assert [standing["figures"]["pixel_accuracy"]["value"] == 1 for standing in saved["standings"]] == [
        True,
        False,
        True,
    ]
    itself = next(pair for pair in saved["pairs"] if pair["alike"])
    assert itself["figures"]["mean_iou"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (tmp_path / "all.html").stat().st_size > 50_000

    _, err = pixelwise(*arguments, "--save", "all.json", cwd=tmp_path, status=2)
    assert err == "pixelwise: all.json exists already; choose another file.\n"

    (tmp_path / "VOC" / "SegmentationClass" / "one.png").write_bytes(b"no picture")
    out, err = pixelwise(*arguments, cwd=tmp_path, status=1)
    assert "1 of 2 photos could not be measured and are in no figure." in err
    assert "one.png" in err
    assert "answer alike on this one photo" in out


@pytest.mark.parametrize("load", [0.9, 1.1])
def test_times_taken_on_a_busy_machine_say_so(load: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pixelwise.machine.load", lambda: load)
    monkeypatch.setattr("pixelwise.machine.cores", lambda: 2)
    answered_photos(tmp_path / "VOC")
    arguments = ["default", "default", "--data", str(tmp_path / "VOC"), "--save", str(tmp_path / "all.json")]
    done = CliRunner().invoke(compare, arguments)
    said = "busy before this began (load 1.1, 2 cores)"
    assert (said in done.output) == (load > 1)
    machine = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["about"]["machine"]
    assert machine.endswith(said) == (load > 1)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 only")
def test_a_photo_whose_name_is_no_utf8_is_on_the_pages(tmp_path: Path):
    images, masks = tmp_path / "own" / "images" / "val", tmp_path / "own" / "masks" / "val"
    for name in ("good", os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\xfe")):
        small_photo(images / f"{name}.png")
        masks.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tri(90, 120, dtype=np.uint8)).save(masks / f"{name}.png")
    (images / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"no picture")
    more = ("--data", "own", "--map", "rest=background", "--engine", "onnxruntime", "--html")
    for command, page in (("evaluate default", "one.html"), ("compare default default", "two.html")):
        pixelwise(*command.split(), *more, page, cwd=tmp_path, status=1)
        html = (tmp_path / page).read_text(encoding="utf-8")
        assert r"\udcff\udcfe.png" in html
    assert r"caf\udce9: they differ on " in html


# Being interrupted.


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path):
    small_photo(tmp_path / "a.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelwise", "segment", "a.png"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=600)
    assert err == ""
    assert (tmp_path / "segmented" / "a_mask.png").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(("arguments", "unbuffered"), [(("--help",), ""), (("models",), "1"), (("info", "--json"), "")])
def test_standard_output_that_takes_nothing_is_one_sentence(arguments: tuple[str, ...], unbuffered: str):
    command = [sys.executable, "-m", "pixelwise", *arguments]
    settings = {"env": ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}, "stderr": subprocess.PIPE, "timeout": 600}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, text=True, check=False, **settings)
    assert done.stderr == "pixelwise: standard output cannot be written to: No space left on device.\n"
    assert done.returncode == 2
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, text=True, check=False, **settings)
    os.close(write)
    assert (done.stderr, done.returncode) == ("", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows interrupts in its own way")
def test_an_interrupt_ends_it_without_a_traceback_or_half_a_file(tmp_path: Path):
    for i in range(300):
        small_photo(tmp_path / "in" / f"{i:03}.png")
    with subprocess.Popen(
        [sys.executable, "-m", "pixelwise", "segment", "in", "--save", "mask"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        # A shell that puts the tests into the background lets them, and all they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        until = time.monotonic() + 300
        while not list((tmp_path / "segmented").glob("*_mask.png")) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert b"Traceback" not in out + err
    written = list((tmp_path / "segmented").glob("*_mask.png"))
    assert 1 <= len(written) < 300
    for path in written:
        assert read_index_mask(path).shape == (90, 120)
