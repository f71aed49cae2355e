from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ENVIRONMENT, pixelwise
from pixelwise.api import load
from pixelwise.engine import openvino_core
from pixelwise.machine import cores, processor


def test_what_is_told_is_what_load_does(tmp_path: Path):
    found = json.loads(pixelwise("info", "--json", cwd=tmp_path)[0])
    for choice, photos in zip(found["choices"], (1, None), strict=True):
        engine = load(photos=photos).engine
        assert choice["engine"] == f"{engine.name}, {engine.precision}"
        assert 0 < choice["photo_seconds"] < choice["load_seconds"] + 5
    assert found["machine"]["processor"] == processor()
    assert found["machine"]["cores"].startswith(str(cores()))
    capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert ("bf16" in found["machine"]["instructions for"]) == ("BF16" in capabilities)
    assert ("has bf16" in found["choices"][1]["reason"]) == ("BF16" in capabilities)
    assert found["versions"]["torch"] is not None
    assert found["extras"]["train"] == []
    assert found["extras"]["wandb"] in ([], ["wandb"])


def test_people_read_it_in_80_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "80")
    out, err = pixelwise("info", cwd=tmp_path)
    assert err == ""
    assert max(len(line) for line in out.splitlines() if "pip install" not in line) <= 80
    assert "it starts" in out  # and, a line further down, "fastest"
    assert "pixelwise[train]: there." in out


def test_an_engine_that_is_missing_is_said_and_the_other_shown():
    code = "import sys; sys.modules['openvino'] = None; sys.argv = ['pixelwise', 'info', '--json']\n"
    code += "from pixelwise.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["machine"]["instructions for"] == "fp32"
    assert [choice["engine"] for choice in found["choices"]] == ["onnxruntime, fp32", "none"]
    assert found["choices"][1]["reason"].startswith("The engine openvino is not installed; ")


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path):
    _, err = pixelwise("info", "--model", "absent", cwd=tmp_path, status=2)
    assert err.startswith("pixelwise: There is no model 'absent'")
