"""The notebook for beginners: it can be read, its commands are there, and it runs where there is no network."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from helpers import ROOT
from pixelwise import read_bundle
from pixelwise.cli import app

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"

# What the notebook and all that it starts load first, as `sitecustomize`.
OFFLINE = '''
"""Refuse what would leave this machine, and write down what was tried."""
import sys
from pathlib import Path


def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", "::1") or host.startswith("127."):
        return
    with Path(__file__).with_name("attempts.txt").open("a") as file:
        file.write(f"{event} {host}\\n")
    raise OSError(f"{event} {host}: there is no network in this test")


sys.addaudithook(refuse)
'''


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def commands(source: str) -> list[list[str]]:
    """What a cell gives to `python -m pixelwise`, a variable of the notebook replaced by 1."""
    lines = re.findall(r"^!python -m pixelwise (.*)$", source.replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(re.sub(r"\{\w+\}", "1", line)) for line in lines]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python processes started from here on have no network and leave nothing at home; gives the list of attempts."""
    for name in ("offline", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "offline" / "sitecustomize.py").write_text(OFFLINE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "offline"), str(ROOT / "src")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PIXELWISE_QUICKSTART_STEPS", "6")
    homes = ("HF_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "TORCH_HOME")
    for name in (*homes, "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    return tmp_path / "offline" / "attempts.txt"


def test_the_notebook_is_committed_without_what_it_printed() -> None:
    nbformat = pytest.importorskip("nbformat")
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert [cell["id"] for cell in code_cells(notebook) if cell["outputs"] or cell["execution_count"] is not None] == []
    assert [cell["id"] for cell in notebook["cells"] if cell["metadata"]] == []
    assert str(ROOT) not in text


def test_every_command_of_the_notebook_is_one_of_the_command_line() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    found = [words for cell in code_cells(notebook) for words in commands("".join(cell["source"]))]
    assert [words[0] for words in found] == ["--version", "doctor", "train", "train", "compare"]
    for name, *words in found[1:]:
        app.commands[name].make_context(name, words)  # reads the options, starts nothing
    texts = ("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    assert {name for text in texts for name in re.findall(r"-m pixelwise (\w+)", text)} <= set(app.commands)


@pytest.mark.parametrize("line", ["train --dta {DATA}", "train --epochs many", "compare", "doctor"])
def test_a_mistaken_command_would_be_found(line: str) -> None:
    [[name, *words]] = commands(f"x = 1\n!python -m pixelwise {line}\n")
    with pytest.raises(click.UsageError):
        app.commands[name].make_context(name, words)


def test_there_is_no_network_in_the_tests_of_the_notebook(offline: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "there is no network in this test" in done.stderr
    assert offline.read_text().split("\n")[0].endswith(" 192.0.2.1")


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_without_a_network(tmp_path: Path, offline: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("torch")
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "examples", checkout / "examples")
    (checkout / "notebooks").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(checkout / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()

    outputs = {cell["id"]: cell["outputs"] for cell in code_cells(notebook)}
    assert [found for cell in outputs.values() for found in cell if found["output_type"] == "error"] == []
    printed = {name: "".join(found.get("text", "") for found in cell) for name, cell in outputs.items()}
    everything = "\n".join(printed.values())
    assert "Traceback" not in everything
    assert not re.search(r"^pixelwise: ", everything, re.MULTILINE), everything  # an error of a command
    assert not offline.exists(), offline.read_text()

    assert sorted(path.name for path in checkout.iterdir()) == ["examples", "notebooks", "runs"]
    [runs] = (checkout / "runs").iterdir()
    for run, architecture in (("unet", "unet"), ("unet2015", "unet2015")):
        config = read_bundle(runs / run / "model").config
        assert config.classes.names == ("background", "nucleus")
        assert config.architecture == architecture
        assert "step 6: loss " in printed[f"train-{run}"]

    comparison = json.loads((runs / "compare.json").read_text())
    assert [model["name"] for model in comparison["models"]] == ["unet", "unet2015"]
    assert len(comparison["photos"]) == 12
    assert comparison["failed"] == []
    [pair] = comparison["pairs"]
    assert {pair["better"], pair["worse"]} == {"unet", "unet2015"}
    difference = pair["figures"]["mean_iou"]
    assert all(math.isfinite(number) for number in (pair["p"], *difference.values()))
    [verdict] = comparison["verdicts"]
    assert verdict in printed["show-page"]
    assert "<iframe" in outputs["show-page"][-1]["data"]["text/html"]
    assert "cat: " in printed["segment-photo"]

    pictures = {name: [found["data"]["image/png"] for found in cell if "data" in found and "image/png" in found["data"]]
                for name, cell in outputs.items()}  # fmt: skip
    assert {name: len(shown) for name, shown in pictures.items() if shown} == {
        "photos-and-masks": 1,
        "show-curves": 2,
        "segment-photo": 1,
        "segment-nuclei": 1,
    }
    for picture in (Image.open(io.BytesIO(base64.b64decode(shown))) for cell in pictures.values() for shown in cell):
        assert picture.width > 300
        assert any(low < high for low, high in picture.convert("RGB").getextrema())
