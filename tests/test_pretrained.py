"""Torchvision's pretrained networks by name, offline: files of the right keys and shapes, with random weights, lie
where torch's download would put them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from helpers import ENVIRONMENT, PHOTOS, digests, pixelwise
from pixelwise import api
from pixelwise.catalogue import cached_path, pretrained_names
from pixelwise.errors import PixelwiseError
from pixelwise.labels import VOC
from pixelwise.masks import read_index_mask
from server import serving

torch = pytest.importorskip("torch", reason="converting needs torch")
torchvision = pytest.importorskip("torchvision", reason="converting needs torchvision")
functional = torch.nn.functional

NAME = "deeplabv3_mobilenet_v3_large"
FILE = "deeplabv3_mobilenet_v3_large-fc3c493d.pth"
WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "onnx", "safetensors"):
    sys.modules[name] = None
sys.argv = ["pixelwise", *sys.argv[1:]]
from pixelwise.cli import main
main()
"""


class Home:
    """A user's cache directories, empty at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            "TORCH_HOME": str(root / "torch"),
            "XDG_CACHE_HOME": str(root / "cache"),
            "https_proxy": "http://127.0.0.1:9",  # where nobody answers: no network, wherever this runs
            "no_proxy": "",
        }
        self.downloads = root / "torch" / "hub" / "checkpoints"
        self.downloads.mkdir(parents=True)

    def files(self) -> list[str]:
        return [path for path in digests(self.root) if not path.startswith("out")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path)
    for key, value in made.environment.items():
        monkeypatch.setenv(key, value)
    return made


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Torchvision's own, whose scores are spread as a trained one's are: fresh ones answer the same everywhere."""
    torch.manual_seed(0)
    made = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )
    photo = torch.from_numpy(np.asarray(Image.open(PHOTOS / "chelsea.png").convert("RGB")).copy())
    batch = (photo.permute(2, 0, 1)[None].float() / 255 - 0.45) / 0.22
    with torch.no_grad():
        for norm in (part for part in made.modules() if isinstance(part, torch.nn.BatchNorm2d)):
            norm.momentum = 0.3
        made.train()
        for _ in range(8):
            made(torch.cat([batch, batch.flip(3)])[..., :288, :288])
        made.eval()
        made.classifier[4].weight.normal_(0, 1)
        made.classifier[4].bias -= made(batch)["out"].mean((0, 2, 3))
    return made


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / FILE
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_a_pretrained_model_is_converted_once_and_then_runs_without_torch(home: Home, weights: Path):
    shutil.copy(weights, home.downloads)
    arguments = ("segment", PHOTOS / "chelsea.png", "--model", NAME, "--force")
    _, err = pixelwise(*arguments, cwd=home.root, environment=home.environment)
    assert err == f"{NAME} is fetched and converted once; that takes a minute or two.\n"
    first = read_index_mask(home.root / "segmented" / "chelsea_mask.png")
    assert len(np.unique(first)) > 2

    shutil.rmtree(home.downloads)  # not needed any more, and torch neither
    out, err = run_without_torch(*map(str, arguments), home=home)
    assert err == ""
    assert "chelsea_mask.png" in out
    np.testing.assert_array_equal(read_index_mask(home.root / "segmented" / "chelsea_mask.png"), first)


@pytest.mark.slow
def test_a_pretrained_model_is_converted_before_it_is_served(home: Home, weights: Path):
    pytest.importorskip("fastapi", reason="serving needs the extra `serve`")
    shutil.copy(weights, home.downloads)
    with serving("--model", NAME, environment=home.environment, cwd=home.root) as (_, address):
        (told,) = httpx.get(f"{address}/v1/models").json()["models"]
    assert told["name"] == NAME


def run_without_torch(*arguments: str, home: Home) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=home.root,
        env=ENVIRONMENT | home.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.slow
def test_it_answers_as_torchvision_does_and_a_damaged_one_is_made_anew(
    home: Home, weights: Path, network: torch.nn.Module
):
    shutil.copy(weights, home.downloads)
    chosen = torchvision.models.get_weight("DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1")
    photo = Image.open(PHOTOS / "chelsea.png").convert("RGB").resize((640, 520))  # as torchvision's preset scales it
    with torch.inference_mode():  # as torchvision does, but for interpolating probabilities in place of logits
        scores = network.classifier(network.backbone(chosen.transforms()(photo)[None])["out"])
        expected = functional.interpolate(scores.softmax(1), size=(520, 640), mode="bilinear")[0].argmax(0).numpy()
    assert len(np.unique(expected)) > 2
    answer = api.load(NAME, engine="onnxruntime")(np.asarray(photo))
    assert (answer.mask == expected).mean() >= 0.9999

    bundle = cached_path(NAME)
    damaged = bytearray((bundle / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (bundle / "model.safetensors").write_bytes(damaged)
    assert not api.takes_a_while(NAME)
    again = api.load(NAME, engine="onnxruntime")(np.asarray(photo))
    np.testing.assert_array_equal(again.mask, answer.mask)


@pytest.mark.parametrize("name", pretrained_names())
def test_torchvisions_classes_are_those_of_voc_in_their_order(name: str):
    from pixelwise.models import architecture

    chosen = torchvision.models.get_weight(architecture(name).weights["coco_voc"].name)
    theirs = [category.strip("_") for category in chosen.meta["categories"]]
    assert theirs == [ours.replace(" ", "") for ours in VOC.names]
    assert chosen.transforms().resize_size == [520]


def test_a_file_of_another_network_is_refused_and_leaves_nothing(home: Home, weights: Path):
    state = torch.load(weights, weights_only=True)
    state["classifier.4.weight"] = torch.zeros(21, 128, 1, 1)
    torch.save(state, home.downloads / FILE)
    before = home.files()
    with pytest.raises(
        PixelwiseError, match=r"classifier\.4\.weight is \(21, 128, 1, 1\) there, expected \(21, 256, 1, 1\)"
    ):
        api.load(NAME)
    assert home.files() == before


def test_without_a_network_it_is_said_what_to_put_where(home: Home):
    _, err = pixelwise(
        "segment",
        PHOTOS / "chelsea.png",
        "--model",
        "fcn_resnet50",
        cwd=home.root,
        status=2,
        environment=home.environment,
    )
    message = err.splitlines()[-1]
    assert message.startswith(
        "pixelwise: The weights FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1 could not be fetched"
    )
    assert f"fcn_resnet50_coco-1167a1af.pth at {home.downloads}" in message
    assert home.files() == []


def test_without_torch_it_is_said_what_to_install(home: Home):
    _, err = run_without_torch("segment", str(PHOTOS / "chelsea.png"), "--model", NAME, home=home)
    assert err.startswith(f"pixelwise: {NAME} has to be converted once, which needs torchvision")
    assert "`pip install 'pixelwise[train]'` brings it, and afterwards the model runs without." in err
    assert err.count("\n") == 1
    assert home.files() == []
