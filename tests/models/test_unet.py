from __future__ import annotations

import pytest
import torch
from torch import nn

from pixelwise.errors import PixelwiseError
from pixelwise.models import build
from pixelwise.models.unet import ContextBlock, UNet

SMALL = "test_efficientnet"  # timm's network for tests, 82,000 parameters


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_encoder_has_the_published_number_of_parameters():
    published, head, head_norm, classifier = 4_652_008, 320 * 1280, 2 * 1280, 1280 * 1000 + 1000
    model = build("unet", num_classes=21)
    assert count(model.get_submodule("encoder")) == published - head - head_norm - classifier == 2_958_848


def test_the_whole_has_the_number_of_parameters_that_its_parts_add_up_to():
    encoder, levels, context, widths = 2_958_848, [320, 112, 40, 24], 128, [112, 80, 64]
    total = encoder
    total += (levels[0] * context + 2 * context) + 3 * 9 * context + 2 * context + (context * context + 2 * context)
    below = context
    for skip, width in zip(levels[1:], widths, strict=True):
        total += 9 * (below + skip) * width + 2 * width + 9 * width * width + 2 * width
        below = width
    total += below * 21 + 21
    assert count(build("unet", num_classes=21)) == total == 3_641_429


@pytest.mark.parametrize("widths", [(8,), (8, 8, 8, 8)])
def test_the_number_of_decoder_levels_can_be_chosen(widths: tuple[int, ...]):
    model = UNet(num_classes=3, encoder=SMALL, context_channels=8, decoder_channels=widths).eval()
    assert model(torch.zeros(1, 3, 40, 33)).shape == (1, 3, 40, 33)
    assert model.output_stride == 32 // 2 ** len(widths)
    cells = 64 // model.output_stride
    assert model.scores(torch.zeros(1, 3, 64, 64)).shape == (1, 3, cells, cells)


@pytest.mark.parametrize("widths", [(), (8, 8, 8, 8, 8)])
def test_too_few_or_too_many_decoder_levels_are_refused(widths: tuple[int, ...]):
    with pytest.raises(PixelwiseError, match="has 5 levels; decoder_channels takes 1 to 4"):
        UNet(num_classes=3, encoder=SMALL, decoder_channels=widths)


@pytest.mark.parametrize("given", [{"decoder_channels": [64, 0]}, {"context_channels": 0}])
def test_levels_without_channels_are_refused(given: dict[str, object]):
    with pytest.raises(PixelwiseError, match="expected 1 channel or more"):
        build("unet", num_classes=3, arguments_given=given)


def test_an_unknown_encoder_is_named():
    with pytest.raises(PixelwiseError, match="timm has no encoder 'resnot18'"):
        build("unet", num_classes=3, arguments_given={"encoder": "resnot18"})


def test_another_encoder_will_do():
    model = build("unet", num_classes=3, arguments_given={"encoder": "test_resnet"}).eval()
    assert model.size_multiple == 32
    assert model(torch.zeros(1, 3, 33, 1)).shape == (1, 3, 33, 1)


def test_the_context_block_sees_a_bounded_neighbourhood():
    torch.manual_seed(0)
    block = ContextBlock(4, 6, rates=(1, 2, 4)).eval()
    image = torch.randn(1, 4, 21, 21)
    changed = image.clone()
    changed[:, :, 10, 10] += 5
    with torch.no_grad():
        differs = (block(image) != block(changed)).any(1)[0]
    rows, columns = differs.nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 6, 14)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = UNet(num_classes=2, encoder=SMALL, context_channels=8, decoder_channels=(8,), dropout=0.5)
    features = torch.ones(1, 8, 4, 4)
    assert (model.train().dropout(features) == 0).any()
    assert torch.equal(model.eval().dropout(features), features)


def test_the_edges_of_a_photo_that_fits_get_no_padding():
    """The answer for a photo of the right size is the encoder's, decoded: nothing is cut off or moved."""
    torch.manual_seed(0)
    model = UNet(num_classes=2, encoder=SMALL, context_channels=8, decoder_channels=(8, 8)).eval()
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        features = model.encoder(image)[::-1]
        coarse = model.context(features[0])
        for block, skip in zip(model.decoder, features[1:3], strict=True):
            coarse = block(coarse, skip)
        logits = nn.Upsample(size=(64, 32), mode="bilinear")(model.classifier(coarse))
        assert torch.equal(model(image), logits)
