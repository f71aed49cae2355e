from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import DEFAULT_BUNDLE, ENVIRONMENT, PHOTOS, SPEC
from pixelwise.api import load
from pixelwise.bundle import read_bundle
from pixelwise.catalogue import work_of_photo
from pixelwise.engine import MUCH_WORK, Engine, OnnxRuntimeEngine, OpenVINOEngine, choose_engine, load_engine
from pixelwise.errors import EngineError

GRAPH = DEFAULT_BUNDLE / "model.onnx"
NAMES = ("onnxruntime", "openvino")


def batch_of(photo: str, *, width: int = 384, height: int = 256) -> np.ndarray:
    """A real photo as the default model expects it: float32 (1, 3, height, width)."""
    spec = read_bundle(DEFAULT_BUNDLE).config.input_spec
    with Image.open(PHOTOS / photo) as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height)), np.float32) / 255
    normalised = (pixels - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    return {name: load_engine(GRAPH, name=name, precision="fp32", threads=1) for name in NAMES}


def test_both_engines_agree_on_a_real_photo(engines: dict[str, Engine]):
    batch = batch_of("chelsea.png")
    first, second = (engines[name](batch) for name in NAMES)
    assert first.shape == second.shape == (1, 21, 64, 96)
    assert first.dtype == second.dtype == np.float32
    assert np.abs(first - second).max() < 1e-4
    assert (first.argmax(axis=1) == second.argmax(axis=1)).mean() >= 0.9999
    assert len(np.unique(first.argmax(axis=1))) > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_two_equals_two_of_one(engines: dict[str, Engine], name: str):
    one, other = batch_of("chelsea.png"), batch_of("astronaut.png")
    together = engines[name](np.concatenate([one, other])).copy()
    assert together.shape == (2, 21, 64, 96)
    np.testing.assert_allclose(together[0], engines[name](one)[0], atol=1e-4)
    np.testing.assert_allclose(together[1], engines[name](other)[0], atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 32), (32, 160), (224, 352)])
def test_any_multiple_of_32_will_do(engines: dict[str, Engine], height: int, width: int):
    batch = batch_of("chelsea.png", width=width, height=height)
    first, second = (engines[name](batch) for name in NAMES)
    assert first.shape == (1, 21, height // 4, width // 4)
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_released_memory_is_taken_again(engines: dict[str, Engine], name: str):
    batch = batch_of("chelsea.png", width=64, height=64)
    before = engines[name](batch).copy()
    engines[name].release()
    engines[name].release()
    np.testing.assert_array_equal(engines[name](batch), before)


@pytest.mark.parametrize("name", NAMES)
def test_what_one_thread_releases_costs_no_other_its_answer(engines: dict[str, Engine], name: str):
    engine, failed = engines[name], []
    batches = [batch_of("chelsea.png", width=width, height=64) for width in (64, 96, 128, 160)]
    alone = [engine(batch).copy() for batch in batches]

    def use(which: int) -> None:
        try:
            for _ in range(25):
                np.testing.assert_array_equal(engine(batches[which]), alone[which])
                engine.release()
        except Exception as error:  # of a thread, pytest would only warn
            failed.append(error)

    threads = [threading.Thread(target=use, args=(which,)) for which in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_says_what_it_is(engines: dict[str, Engine], name: str):
    assert (engines[name].name, engines[name].precision) == (name, "fp32")


@pytest.mark.parametrize("name", NAMES)
def test_an_input_that_does_not_fit_is_refused(engines: dict[str, Engine], name: str):
    with pytest.raises(EngineError, match=r"cannot run this model: .*[Ii]nput") as caught:
        engines[name](np.zeros((1, 4, 32, 32), np.float32))
    assert "Exception from" not in str(caught.value)  # a place in OpenVINO's sources, which tells nobody anything


# What `auto` stands for.


@pytest.mark.parametrize(
    ("name", "precision", "work", "chosen"),
    [
        ("auto", "auto", 1e9, ("onnxruntime", "auto")),
        ("auto", "fp32", 0.99 * MUCH_WORK, ("onnxruntime", "fp32")),
        ("auto", "auto", MUCH_WORK, ("openvino", "auto")),
        ("auto", "auto", None, ("openvino", "auto")),
        ("auto", "bf16", 1e9, ("openvino", "bf16")),
        ("onnxruntime", "auto", None, ("onnxruntime", "auto")),
        ("onnxruntime", "bf16", 1e9, ("onnxruntime", "bf16")),
        ("openvino", "fp32", 1e9, ("openvino", "fp32")),
    ],
)
def test_auto_goes_by_the_work_and_the_precision(name, precision, work, chosen):
    assert choose_engine(name, precision, work=work) == chosen


@pytest.mark.parametrize(
    ("photos", "size", "engine"),
    [
        (1, None, "onnxruntime"),
        (51, None, "onnxruntime"),
        (52, None, "openvino"),
        (12, 768, "onnxruntime"),
        (14, 768, "openvino"),
        (None, None, "openvino"),
        (1, "native", "openvino"),
    ],
)
def test_the_work_is_that_of_all_photos_as_the_network_sees_them(photos, size, engine):
    assert load(photos=photos, size=size).engine.name == engine


def test_of_a_large_network_one_photo_is_much_work():
    default = read_bundle(DEFAULT_BUNDLE).config
    large = replace(default, architecture="deeplabv3_resnet50", input_spec=replace(SPEC, long_side=520))
    assert work_of_photo(large) >= MUCH_WORK
    assert work_of_photo(default) == pytest.approx(1.9e9, rel=0.05)
    assert work_of_photo(default, side=768) == pytest.approx(4 * 1.9e9, rel=0.05)
    assert work_of_photo(replace(large, architecture="of tomorrow")) is None


def test_bf16_is_openvinos_where_the_processor_has_it_and_said_where_not():
    load_engine(GRAPH, name="openvino", threads=1)  # imports it without its telemetry
    from openvino import Core

    if "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        engine = load_engine(GRAPH, precision="bf16", threads=1)
        assert (engine.name, engine.precision) == ("openvino", "bf16")
        exact = load_engine(GRAPH, name="onnxruntime", threads=1)
        batch = batch_of("chelsea.png")
        assert (engine(batch).argmax(axis=1) == exact(batch).argmax(axis=1)).mean() > 0.97
    else:
        with pytest.raises(EngineError, match=r"no bf16 instructions; use --precision fp32"):
            load_engine(GRAPH, precision="bf16")


@pytest.mark.parametrize("name", NAMES)
def test_no_engine_tells_anyone_that_it_is_used(tmp_path: Path, name: str):
    script = f"""
import sys
from pathlib import Path

told = []
sys.addaudithook(lambda event, _: told.append(event) if event.startswith(("socket.", "urllib.", "os.fork")) else None)

import numpy as np
from pixelwise.engine import load_engine

load_engine(Path({str(GRAPH)!r}), name={name!r})(np.zeros((1, 3, 32, 32), np.float32))
print(sorted(set(told)), [name for name in sys.modules if "telemetry" in name and "ovc" not in name])
"""
    # The telemetry of both is silent in CI, and otherwise keeps an identity below the home directory.
    silencers = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in silencers} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout == "[] []\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("release", ["in the order they came", "on another thread"])
def test_a_signal_is_survived_after_openvino_models_are_released(release: str):
    script = f"""
import os, signal, sys, threading
from pathlib import Path
from pixelwise.engine import load_engine

models = [load_engine(Path({str(GRAPH)!r}), name="openvino") for _ in range(2)]
if {release!r} == "on another thread":
    thread = threading.Thread(target=models.clear)
    thread.start()
    thread.join()
else:
    del models[0]
    del models[0]
signal.signal(signal.SIGINT, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_threads_that_begin_at_once_do_not_wait_for_each_other_for_ever():
    """Left to itself, OpenVINO goes wrong in one new process of three."""
    script = f"""
import threading
from pathlib import Path
import numpy as np
from pixelwise.engine import load_engine

engine = load_engine(Path({str(GRAPH)!r}), name="openvino", threads=1, streams=2)
images, all_there = np.zeros((1, 3, 32, 32), np.float32), threading.Barrier(24)
threads = [threading.Thread(target=lambda: all_there.wait() + len(engine(images))) for _ in range(24)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    for _ in range(5):
        subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, timeout=60, check=True)


# Refusals.


def test_a_container_with_a_quota_gets_no_more_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pixelwise.engine.core_quota", lambda: 1)
    onnxruntime, openvino = OnnxRuntimeEngine(GRAPH), OpenVINOEngine(GRAPH)
    assert onnxruntime._options.intra_op_num_threads == 1
    assert openvino._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    monkeypatch.setattr("pixelwise.engine.core_quota", lambda: None)
    assert OnnxRuntimeEngine(GRAPH)._options.intra_op_num_threads == 0  # as many as it thinks best


def test_onnx_runtime_refuses_bf16_and_names_the_way_out():
    with pytest.raises(EngineError, match="fp32 only; choose the engine openvino for bf16"):
        load_engine(GRAPH, name="onnxruntime", precision="bf16")


@pytest.mark.parametrize("name", ["tensorrt", "torch", ""])
def test_an_unknown_engine_is_answered_with_those_there_are(name):
    with pytest.raises(EngineError, match="there are: auto, onnxruntime, openvino"):
        load_engine(GRAPH, name=name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["absent", "empty", "text", "truncated", "without weights"])
def test_a_damaged_model_is_refused(tmp_path: Path, name: str, damage: str):
    graph = tmp_path / "model.onnx"
    whole = GRAPH.read_bytes()
    contents = {"empty": b"", "text": b"This is no model.", "truncated": whole[: len(whole) // 2]}
    if damage != "absent":
        graph.write_bytes(contents.get(damage, whole))
    if damage != "without weights":
        shutil.copy(DEFAULT_BUNDLE / "model.safetensors", tmp_path)
    with pytest.raises(EngineError, match=r"(ONNX Runtime|OpenVINO) refuses .*model\.onnx: .") as caught:
        load_engine(graph, name=name)
    assert "\n" not in str(caught.value)
    assert "Exception from" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ({"engine": "tensorrt"}, "no engine 'tensorrt' to compute with; there are: auto, onnxruntime, openvino, torch"),
        ({"precision": "fp16"}, "no precision 'fp16' to compute with; there are: auto, fp32, bf16"),
        ({"precision": "int8", "engine": "openvino"}, "no precision 'int8' to compute with"),
        ({"precision": "fp16", "engine": "torch"}, "no precision 'fp16' to compute with"),
    ],
)
def test_what_cannot_be_asked_for_is_not_taken_for_something_else(asked, there: str):
    with pytest.raises(EngineError, match=there):
        load(photos=1, **asked)


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=rf"{name} is not installed; `pip install {name}` brings it"):
        load_engine(GRAPH, name=name)
