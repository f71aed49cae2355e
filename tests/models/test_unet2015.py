from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from helpers import colourful_photo
from networks import photos
from pixelwise.bundle import InputSpec
from pixelwise.engine import TorchEngine
from pixelwise.labels import ClassTable
from pixelwise.models import build
from pixelwise.models.unet2015 import BORDER, UNet2015, _mirrored
from pixelwise.segmenter import Segmenter
from pixelwise.tiling import Tiling

CLASSES = ClassTable(tuple("abc"), ((0, 0, 0),) * 3)


def small(*, padding: bool, seed: int = 0) -> UNet2015:
    torch.manual_seed(seed)
    model = UNet2015(num_classes=3, padding=padding, width=4).eval()
    nn.init.normal_(model.classifier.weight, std=1.0)
    return model


def on_meta(*, padding: bool) -> nn.Module:
    with torch.device("meta"):
        return build("unet2015", num_classes=2, arguments_given={"padding": padding})


def test_twenty_three_convolutional_layers():
    """Section 2 of the paper: "In total the network has 23 convolutional layers"."""
    layers = [part for part in on_meta(padding=True).modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 23
    kernels = [(type(layer).__name__, layer.kernel_size[0]) for layer in layers]
    assert sorted(set(kernels)) == [("Conv2d", 1), ("Conv2d", 3), ("ConvTranspose2d", 2)]
    assert [kernels.count(kind) for kind in sorted(set(kernels))] == [1, 18, 4]


def test_the_sizes_and_channels_are_those_of_the_papers_figure():
    """Figure 1: what leaves each pair of convolutions, for a tile of 572 x 572."""
    model, seen = on_meta(padding=False), []
    for block in (*model.get_submodule("down").children(), *model.get_submodule("up").children()):
        block.register_forward_hook(lambda _, __, out: seen.append((out.shape[1], out.shape[-1])))
    answer = model(torch.zeros(1, 3, 388, 388, device="meta"))
    assert answer.shape == (1, 2, 388, 388)
    assert seen == [
        (64, 568),
        (128, 280),
        (256, 136),
        (512, 64),
        (1024, 28),
        (512, 52),
        (256, 100),
        (128, 196),
        (64, 388),
    ]
    assert BORDER == (572 - 388) / 2


@pytest.mark.parametrize("padding", [True, False])
def test_weights_are_drawn_with_the_deviation_of_the_paper(padding: bool):
    """Section 3: sqrt(2 / N), N the incoming nodes of a neuron; "for a 3x3 convolution and 64 channels, N = 9 * 64"."""
    torch.manual_seed(0)
    model = UNet2015(num_classes=2, padding=padding, width=32)
    nodes = {"down.1.0": 9 * 32, "down.2.2": 9 * 128, "up.0.0": 9 * 512, "up.3.2": 9 * 32, "upconv.0": 512}
    for name, incoming in nodes.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        assert float(layer.weight.detach().std()) == pytest.approx((2 / incoming) ** 0.5, rel=0.03), name
        assert abs(float(layer.weight.detach().mean())) < 0.1 * (2 / incoming) ** 0.5
        assert not layer.bias.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("length", [1, 2, 5, 92, 93, 388, 389])
def test_a_side_is_continued_by_mirroring(length: int):
    side = torch.arange(length, dtype=torch.float32)[None, None, None]
    continued = _mirrored(side, dim=3).flatten()
    expected = np.pad(np.arange(length), (BORDER, continued.numel() - length - BORDER), mode="symmetric")
    assert continued.tolist() == expected.tolist()
    pixels = continued.numel()
    assert (pixels - 124) % 16 == 0
    assert length <= pixels - 2 * BORDER < length + 16


@pytest.mark.parametrize("padding", [True, False])
def test_a_plain_photo_of_one_pixel_is_answered(padding: bool):
    answer = small(padding=padding)(torch.ones(1, 3, 1, 1))
    assert answer.shape == (1, 3, 1, 1)
    assert answer.isfinite().all()


def test_without_padding_a_plain_photo_has_no_border():
    with torch.no_grad():
        plain = torch.full((1, 3, 40, 56), 0.7)
        unpadded, padded = small(padding=False)(plain), small(padding=True)(plain)
    first = (..., slice(1), slice(1))  # up-convolutions repeat themselves after 16 pixels
    assert torch.allclose(unpadded[first], unpadded[..., ::16, ::16], atol=1e-5)
    assert not torch.allclose(padded[first], padded[..., ::16, ::16], atol=1e-2)


def test_an_unpadded_tile_with_its_border_is_the_answer_of_the_whole_photo(monkeypatch: pytest.MonkeyPatch):
    """The paper's overlap-tile strategy, figure 2: 92 pixels around a tile are all that its answer depends on."""
    image, model = photos(1, 420, 404), small(padding=False)
    rows, columns = slice(112, 212), slice(96, 212)
    with torch.no_grad():
        whole = model(image)[..., rows, columns]
        monkeypatch.setattr("pixelwise.models.unet2015._mirrored", lambda x, dim: x)  # the border is the photo's own
        tile = model(image[..., 112 - BORDER : 212 + BORDER, 96 - BORDER : 212 + BORDER])
        assert tile.shape == whole.shape
        assert torch.allclose(tile, whole, atol=1e-5 * float(whole.abs().max()))
        moved = image.clone()
        moved[..., 112 - BORDER, :] += 1  # and no less than 92
        assert not torch.equal(model(moved[..., 112 - BORDER : 212 + BORDER, 96 - BORDER : 212 + BORDER]), tile)
        padded = small(padding=True)
        tile, whole = padded(image[..., 112:212, 96:212]), padded(image)[..., rows, columns]
    assert not torch.allclose(tile, whole, atol=1e-2 * float(whole.abs().max()))


def confidence(tiling: Tiling, *, padding: bool) -> np.ndarray:
    """Of a photo of 700 columns; the second value that `predict` gives."""
    spec = InputSpec(mean=(0.5,) * 3, std=(0.25,) * 3, long_side=64, size_multiple=16)
    segmenter = Segmenter(TorchEngine(small(padding=padding)), CLASSES, spec, size="native", tiling=tiling)
    return segmenter.predict(colourful_photo(48, 700))[1].astype(np.float32)


def test_a_photo_in_tiles_that_overlap_enough_has_no_seams():
    """Enough: the margin of 112 that an overlap of 256 leaves is above what a pixel depends on, 92 + 15."""
    whole = confidence(Tiling(1024, 512), padding=False)
    np.testing.assert_allclose(confidence(Tiling(512, 256), padding=False), whole, atol=1e-3)
    assert np.abs(confidence(Tiling(128, 32), padding=False) - whole).max() > 0.01
