"""Exported models: the same answers, their own figures, and nothing written that is worse than allowed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from helpers import DEFAULT_BUNDLE, ENVIRONMENT, PHOTOS, bound_by_permissions, pixelwise
from pixelwise.api import load
from pixelwise.bundle import BundleConfig, InputSpec, read_bundle, write_bundle
from pixelwise.cli_options import load_segmenter
from pixelwise.cost import count_parameters
from pixelwise.data import open_dataset
from pixelwise.deployment import to_file, to_openvino
from pixelwise.engine import TorchEngine, load_engine, load_exported, openvino_core
from pixelwise.errors import BundleError, EngineError, OutputError, PixelwiseError, RecipeError
from pixelwise.export import export_module, input_sizes
from pixelwise.labels import VOC, ClassTable
from pixelwise.masks import write_mask
from pixelwise.models import build
from pixelwise.segmenter import Segmenter
from pixelwise.standalone import torch_engine
from small_runs import fresh_state, small_dataset

ORIGINAL = read_bundle(DEFAULT_BUNDLE)
FOUR = ClassTable(VOC.names[:4], VOC.colours[:4])
SMALL = {"fcn8s": {"width": 64}, "unet2015": {"width": 16}}


def original() -> nn.Module:
    return build("unet", num_classes=21, arguments_given=ORIGINAL.config.arguments, weights=ORIGINAL.weights)


def pixels(name: str = "astronaut") -> np.ndarray:
    return np.asarray(Image.open(PHOTOS / f"{name}.png").convert("RGB"))


def own_truth(folder: Path, model: Segmenter | None = None, *, count: int) -> Path:
    """Cut-outs of two photos whose masks are a model's own answers, in VOC's layout: its mean IoU is 1."""
    model = model or load(engine="openvino", precision="fp32")
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    ids = []
    for name in ("chelsea", "astronaut"):
        photo = pixels(name)
        for index in range(count // 2):
            cut = np.ascontiguousarray(photo[10 * index : 10 * index + 220, 12 * index : 12 * index + 260])
            Image.fromarray(cut).save(folder / "JPEGImages" / f"{name}{index}.jpg", quality=100, subsampling=0)
            read = np.asarray(Image.open(folder / "JPEGImages" / f"{name}{index}.jpg"))
            write_mask(folder / "SegmentationClass" / f"{name}{index}.png", model.predict(read)[0], VOC)
            ids.append(f"{name}{index}")
    for split in ("train", "val"):
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(ids))
    return folder


@pytest.mark.parametrize(
    ("precision", "bytes_left", "alike"), [("fp32", 1.1, 0.9999), ("bf16", 1.1, 0.98), ("fp16", 0.6, 0.98)]
)
def test_it_answers_as_before_and_says_what_it_is(tmp_path: Path, precision: str, bytes_left: float, alike: float):
    done = to_openvino(ORIGINAL, tmp_path / "new", precision=precision)
    bundle = read_bundle(tmp_path / "new")
    assert (bundle.config.form, bundle.config.precision) == ("openvino", precision)
    assert bundle.config.name == f"{ORIGINAL.config.name}-{precision}"
    assert done.after.bytes_on_disk < bytes_left * done.before.bytes_on_disk
    assert count_parameters(bundle) == count_parameters(ORIGINAL)
    model = load(tmp_path / "new")
    assert model.engine.name == "openvino"
    for name in ("astronaut", "chelsea"):
        expected = load(engine="openvino", precision="fp32").predict(pixels(name))[0]
        assert (model.predict(pixels(name))[0] == expected).mean() > alike
    card = (tmp_path / "new" / "README.md").read_text()
    assert "## Exported" in card
    assert "| milliseconds a photo | " in card
    raw = json.loads((tmp_path / "new" / "config.json").read_text())
    assert raw["format_version"] == 4
    assert str(tmp_path) not in (tmp_path / "new" / "model.xml").read_text()


@pytest.fixture
def without_bf16() -> Iterator[None]:
    """OpenVINO computes in float32 where nothing else is asked for, as it does on a processor without bf16."""
    core = openvino_core()
    before = core.get_property("CPU", "INFERENCE_PRECISION_HINT")
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    yield
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": before})


@pytest.mark.usefixtures("without_bf16")
def test_where_the_processor_has_no_bf16_it_is_computed_in_fp32_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    to_openvino(ORIGINAL, tmp_path / "new", precision="bf16")
    given = {"engine": "openvino", "photos": 1, "size": None, "flip": False}
    exported = load_segmenter(str(tmp_path / "new"), precision="auto", **given)
    said = capsys.readouterr().err
    assert said == f"{tmp_path / 'new'} is computed in fp32, as this processor has no bf16 instructions.\n"
    original = load_segmenter("default", precision="auto", **given)
    assert (exported.engine.precision, original.engine.precision) == ("fp32", "fp32")
    assert (exported.predict(pixels())[0] == original.predict(pixels())[0]).all()
    assert capsys.readouterr().err == ""  # nobody asked for bf16 there


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn8s", "segnet", "unet2015"])
def test_one_of_each_family_can_be_exported_and_sees_photos_of_any_size(name: str, tmp_path: Path):
    torch.manual_seed(0)
    module = build(name, num_classes=4, arguments_given=SMALL.get(name, {})).eval()
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and not part.weight.any():  # FCN's scores, which would all be zero
            nn.init.normal_(part.weight, std=0.05)
    graph, weights = export_module(module)
    multiple, stride = input_sizes(module)
    spec = InputSpec((0.5,) * 3, (0.5,) * 3, 64, multiple, output_stride=stride)
    config = BundleConfig(name, name, SMALL.get(name, {}), FOUR, spec)
    bundle = write_bundle(tmp_path / "model", config, graph=graph, weights=weights)
    to_openvino(bundle, tmp_path / "new", precision="fp32")
    before, after = load_engine(bundle.graph, name="openvino", precision="fp32"), None
    after = load_exported(tmp_path / "new" / "model.xml", stored="fp32")
    for sides in ((2 * multiple, 3 * multiple), (3 * multiple, 2 * multiple)):
        images = np.random.default_rng(0).standard_normal((2, 3, *(max(64, side) for side in sides))).astype(np.float32)
        expected, found = before(images).copy(), after(images)
        assert found.shape == expected.shape
        scale = np.abs(expected).max()
        assert scale > 0
        assert np.abs(found - expected).max() < 1e-3 * scale
    shutil.rmtree(tmp_path)  # the larger ones take half a gigabyte


def test_one_onnx_file_holds_all_of_it(tmp_path: Path):
    to_file(ORIGINAL, tmp_path / "one.onnx", "onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "one.onnx"))
    images = np.random.default_rng(0).standard_normal((1, 3, 90, 121)).astype(np.float32)
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, TorchEngine(original())(images), atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map
    assert told["name"] == "default"
    assert "long_side" in told["input"]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TorchScript is deprecated
def test_torchscript_needs_nothing_but_torch(tmp_path: Path):
    to_file(ORIGINAL, tmp_path / "model.pt", "torchscript")
    script = torch.jit.load(str(tmp_path / "model.pt"))
    images = np.random.default_rng(0).standard_normal((1, 3, 160, 224)).astype(np.float32)
    with torch.inference_mode():
        found = script(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, TorchEngine(original())(images), atol=1e-3)


def test_torch_answers_at_the_stride_that_the_model_has(tmp_path: Path):
    """The whole network in models of before there was one."""
    config, stride = ORIGINAL.config, ORIGINAL.config.input_spec.output_stride
    older = replace(config, input_spec=replace(config.input_spec, output_stride=1))
    files = {"graph": ORIGINAL.graph.read_bytes(), "weights": ORIGINAL.weights.read_bytes()}
    images = np.random.default_rng(0).standard_normal((1, 3, 160, 224)).astype(np.float32)
    whole = torch_engine(write_bundle(tmp_path / "older", older, **files))(images)
    part = torch_engine(ORIGINAL)(images)
    assert whole.shape[2:] == (160, 224)
    assert part.shape[2:] == (160 // stride, 224 // stride)
    np.testing.assert_allclose(part, load_engine(ORIGINAL.graph, name="onnxruntime")(images), atol=1e-3)
    np.testing.assert_allclose(whole, TorchEngine(original())(images), atol=1e-5)


@pytest.mark.slow
def test_integers_are_kept_to_their_bound(tmp_path: Path):
    pytest.importorskip("nncf")
    folder = own_truth(tmp_path / "voc", count=12)
    train, val = (open_dataset("voc", folder, split) for split in ("train", "val"))
    done = to_openvino(
        ORIGINAL, tmp_path / "new", precision="int8", calibration=train, validation=val, data="own", max_drop=0.7
    )
    assert done.before.figures["mean IoU"] == 1
    assert 0.3 <= done.after.figures["mean IoU"] < 1
    assert done.after.bytes_on_disk < 0.5 * done.before.bytes_on_disk
    integer, layers = done.integer
    assert 30 <= integer <= layers
    model = load(tmp_path / "new")
    assert (model.engine.name, model.engine.precision) == ("openvino", "int8")
    told = read_bundle(tmp_path / "new").config
    assert told.metrics["own/val"]["mean IoU"] == done.after.figures["mean IoU"]
    assert told.provenance["export"]["layers in 8-bit integers"] == f"{integer} of {layers}"
    assert told.provenance["export"]["ranges from"] == "12 photos of own/train"
    pixelwise("compare", "default", tmp_path / "new", "--data", folder, "--save", "c.json", cwd=tmp_path)
    assert "openvino, int8" in (tmp_path / "c.json").read_text()
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)  # with NNCF's own Cores, this ended the process
    signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]


@pytest.mark.slow
def test_layers_go_back_to_float_until_the_bound_is_kept(tmp_path: Path):
    pytest.importorskip("nncf")
    torch.manual_seed(0)
    module = build("unet2015", num_classes=21, arguments_given={"width": 4, "batch_norm": True}).eval()
    graph, weights = export_module(module)
    spec = InputSpec((0.5,) * 3, (0.5,) * 3, 64, int(module.size_multiple))
    config = BundleConfig("small", "unet2015", {"width": 4, "batch_norm": True}, VOC, spec)
    bundle = write_bundle(tmp_path / "model", config, graph=graph, weights=weights)
    folder = own_truth(tmp_path / "voc", load(tmp_path / "model", engine="openvino", precision="fp32"), count=4)
    sets = {"calibration": open_dataset("voc", folder, "train"), "validation": open_dataset("voc", folder, "val")}
    free = to_openvino(bundle, tmp_path / "free", precision="int8", max_drop=1, **sets)
    lost = 1 - free.after.figures["mean IoU"]
    assert lost > 0
    kept = to_openvino(bundle, tmp_path / "kept", precision="int8", max_drop=0.985 * lost, **sets)
    assert 1 - kept.after.figures["mean IoU"] <= 0.985 * lost  # which all layers in integers do not keep to
    assert kept.integer[0] <= free.integer[0]


def test_nncf_tells_nobody():
    pytest.importorskip("nncf")
    code = (
        "import sys; from pixelwise.quantization import _import_nncf; nncf = _import_nncf();"
        "from nncf.telemetry.wrapper import telemetry;"
        "print('openvino_telemetry' in sys.modules, type(telemetry).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.stdout == "False MagicMock\n", done.stdout + done.stderr


def test_what_loses_more_than_allowed_is_not_written(tmp_path: Path):
    folder = own_truth(tmp_path / "voc", count=4)
    words = ("export", "default", "--precision", "bf16", "--data", folder, "--max-drop", "0", "--out", "new")
    _, err = pixelwise(*words, cwd=tmp_path, status=2)
    assert "mean IoU falls from 1.0000 to 0.9" in err
    assert "points where 0 are allowed, so nothing was written; give a larger --max-drop or another --precision." in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voc"]


def test_where_nothing_is_labelled_nothing_is_written(tmp_path: Path):
    folder = own_truth(tmp_path / "voc", count=2)
    for path in (folder / "SegmentationClass").iterdir():
        write_mask(path, np.full((220, 260), VOC.ignore_index, np.uint8), VOC)
    validation = open_dataset("voc", folder, "val")
    with pytest.raises(PixelwiseError, match="No pixel of the masks is labelled"):
        to_openvino(ORIGINAL, tmp_path / "new", precision="fp16", validation=validation)
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


def test_the_command_prints_before_and_after(tmp_path: Path):
    out, _ = pixelwise("export", "default", "--precision", "fp16", cwd=tmp_path)
    assert "before" in out
    assert "-> default-fp16" in out
    pixelwise("segment", PHOTOS / "chelsea.png", "--model", "default-fp16", "--out", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "chelsea_mask.png").is_file()
    _, err = pixelwise("export", "default", "--precision", "fp16", cwd=tmp_path, status=2)
    assert "default-fp16 exists already" in err
    pixelwise("export", "default", "--precision", "fp16", "--force", cwd=tmp_path)


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path):
    for words, told in (
        (("--precision", "int8"), "int8 needs photos with masks"),
        (("--to", "onnx", "--precision", "int8"), "--to onnx takes --precision fp32; int8 goes to openvino"),
        (("--out", "absent/new"), "There is no directory absent"),
        (("--data", "nowhere", "--precision", "int8"), "nowhere"),
    ):
        _, err = pixelwise("export", "default", *words, cwd=tmp_path, status=2)
        assert told in err
        assert err.count("\n") == 1
    (tmp_path / "file").write_text("mine")
    _, err = pixelwise("export", "default", "--out", "file", "--force", cwd=tmp_path, status=2)
    assert "is not a model, so it is not replaced" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_cannot_be_written_to_is_seen_before_the_work(tmp_path: Path):
    """Which would be refused for want of data otherwise."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="is not a model, so it is not replaced"):
        to_openvino(ORIGINAL, tmp_path / "file", precision="int8", force=True)
    with pytest.raises(OutputError, match="folder is a directory, so it is not replaced"):
        to_file(
            replace(ORIGINAL, config=replace(ORIGINAL.config, form="openvino")), tmp_path / "folder", "onnx", force=True
        )
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        to_openvino(ORIGINAL, tmp_path / ("x" * 300), precision="int8", force=True)
    (tmp_path / "locked").mkdir(mode=0o500)
    words = ("export", "default", "--precision", "int8", "--out", "locked/new")
    _, err = pixelwise(*words, cwd=tmp_path, status=2, before=bound_by_permissions())
    assert err == "pixelwise: The directory locked cannot be written to.\n"


def test_an_export_never_replaces_its_original(tmp_path: Path):
    shutil.copytree(ORIGINAL.path, tmp_path / "model")
    (tmp_path / "link").symlink_to("model")
    bundle = read_bundle(tmp_path / "model")
    for place in ("model", "link"):
        with pytest.raises(OutputError, match="is the model that is to be exported, so it is not replaced"):
            to_openvino(bundle, tmp_path / place, precision="fp32", force=True)
    with pytest.raises(OutputError, match=r"model\.onnx is the model that is to be exported"):
        to_file(bundle, tmp_path / "model" / "model.onnx", "onnx", force=True)
    assert read_bundle(tmp_path / "model") == bundle


@pytest.mark.parametrize("full", [True, False])
def test_no_room_for_temporary_files_is_said(full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A limit on the size of files does for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("" if full else "absent")))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
        with pytest.raises(OutputError, match=r"^No temporary files can be written \(.+\); is the disk full\?$"):
            to_openvino(ORIGINAL, tmp_path / "new", precision="fp16")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_calls_itself_a_path_does_not_choose_where_its_export_goes(tmp_path: Path):
    (tmp_path / "here").mkdir()
    model = tmp_path / "model"
    shutil.copytree(ORIGINAL.path, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "name": "../elsewhere"}))
    out, _ = pixelwise("export", str(model), cwd=tmp_path / "here")
    assert out.endswith("-> elsewhere-fp32\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "model"]


def test_an_exported_model_is_no_start_for_anything_else(tmp_path: Path):
    to_openvino(ORIGINAL, tmp_path / "new", precision="fp32")
    exported = read_bundle(tmp_path / "new")
    with pytest.raises(PixelwiseError, match="was exported already"):
        to_file(exported, tmp_path / "one.onnx", "onnx")
    with pytest.raises(EngineError, match="leave --engine out"):
        load(tmp_path / "new", engine="onnxruntime")
    small_dataset(tmp_path)
    arguments = json.dumps(dict(exported.config.arguments))
    with pytest.raises(RecipeError, match="was exported for OpenVINO"):
        fresh_state(tmp_path, "model.name=unet", f"model.arguments={arguments}", f"model.transfer={tmp_path / 'new'}")


def test_a_damaged_or_newer_export_is_refused(tmp_path: Path):
    to_openvino(ORIGINAL, tmp_path / "new", precision="fp32")
    config = tmp_path / "new" / "config.json"
    raw = json.loads(config.read_text())
    config.write_text(json.dumps({**raw, "graph": {"form": "tensorrt", "precision": "fp32"}}))
    with pytest.raises(BundleError, match="unknown form 'tensorrt'"):
        read_bundle(tmp_path / "new")
    config.write_text(json.dumps(raw))
    os.truncate(tmp_path / "new" / "model.bin", 1000)
    with pytest.raises(BundleError, match=r"model\.bin is not what"):
        read_bundle(tmp_path / "new")


def test_what_is_there_already_is_seen_before_the_work(tmp_path: Path):
    (tmp_path / "model.pt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        to_file(ORIGINAL, tmp_path / "model.pt", "torchscript")
    assert (tmp_path / "model.pt").read_text() == "mine"
