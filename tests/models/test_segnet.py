from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks import parameters_of
from pixelwise.models import build
from pixelwise.models.segnet import max_pool_with_positions, max_unpool


def plain(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def after_relu(height: int, width: int) -> Tensor:
    return F.relu(plain(height, width) - 0.7)  # whole windows of zeros


def with_ties(height: int, width: int) -> Tensor:
    return (plain(height, width) * 1.5).round()  # few values, positive, zero and negative


KINDS = pytest.mark.parametrize("kind", [plain, after_relu, with_ties, lambda h, w: torch.full((1, 2, h, w), 2.0)])
SIZES = pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 12), (64, 2)])


@KINDS
@SIZES
def test_pooling_and_unpooling_are_torchs_bit_for_bit(kind, height: int, width: int):
    ours, theirs = kind(height, width), kind(height, width)
    ours.requires_grad_()
    theirs.requires_grad_()
    maxima, positions = max_pool_with_positions(ours)
    expected, indices = F.max_pool2d(theirs, 2, 2, return_indices=True)
    assert torch.equal(maxima, expected)
    assert torch.equal(positions.sum(dim=2), torch.ones_like(maxima, dtype=torch.long))
    values = torch.randn(maxima.shape, generator=torch.Generator().manual_seed(1))
    answer = max_unpool(maxima * values, positions)
    wanted = F.max_unpool2d(expected * values, indices, 2, 2)
    assert torch.equal(answer, wanted)
    factors = torch.randn(answer.shape, generator=torch.Generator().manual_seed(2))
    (answer * factors).sum().backward()
    (wanted * factors).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]


def test_the_first_of_equal_maxima_is_taken_row_by_row():
    image = torch.tensor([[5.0, 5, 1, 7], [5, 5, 7, 7], [0, 0, -1, -3], [0, 2, -2, -1]])[None, None]
    maxima, positions = max_pool_with_positions(image)
    assert maxima.squeeze().tolist() == [[5, 7], [2, -1]]
    assert positions.squeeze().int().argmax(0).tolist() == [[0, 1], [3, 0]]
    places = [[5.0, 0, 0, 7], [0, 0, 0, 0], [0, 0, -1, 0], [0, 2, 0, 0]]
    assert max_unpool(maxima, positions).squeeze().tolist() == places


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build("segnet", num_classes=12).eval()


# figure 2 of the paper, and the authors' segnet_train.prototxt: outputs of each 3x3 convolution
ENCODER = {
    "conv1": [64, 64],
    "conv2": [128, 128],
    "conv3": [256, 256, 256],
    "conv4": [512, 512, 512],
    "conv5": [512, 512, 512],
}
DECODER = {
    "deconv5": [512, 512, 512],
    "deconv4": [512, 512, 256],
    "deconv3": [256, 256, 128],
    "deconv2": [128, 64],
    "deconv1": [64, 12],
}


def test_the_decoder_mirrors_the_encoder_as_published(model: nn.Module):
    inputs = 3
    for half, stages in (("encoder", ENCODER), ("decoder", DECODER)):
        assert [name for name, _ in model.get_submodule(half).named_children()] == list(stages)
        for stage, outputs in stages.items():
            convs = [part for part in model.get_submodule(f"{half}.{stage}").children() if isinstance(part, nn.Conv2d)]
            assert [conv.out_channels for conv in convs] == outputs
            for conv in convs:
                assert (conv.in_channels, conv.kernel_size, conv.padding) == (inputs, (3, 3), (1, 1))
                inputs = conv.out_channels


def test_each_convolution_but_the_last_is_normalised_and_rectified(model: nn.Module):
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.ReLU)]
    kinds = [type(layer) for layer in layers]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 25 + [nn.Conv2d]


def test_upsampling_has_no_weights_and_nothing_but_positions_crosses(model: nn.Module):
    assert not any(isinstance(part, nn.ConvTranspose2d | nn.Upsample) for part in model.modules())
    halves = parameters_of(model.get_submodule("encoder")) + parameters_of(model.get_submodule("decoder"))
    assert parameters_of(model) == halves


def test_the_published_number_of_parameters(model: nn.Module):
    """29.46 million at 12 classes (ENet, Paszke et al. 2016, arXiv:1606.02147), 117 MB (the paper, table 6).

    The former is met, to its last digit, with the mean and the variance that each normalised channel keeps.
    """
    kept = sum(part.num_features * 2 for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    assert parameters_of(model) == 29_449_932
    assert (parameters_of(model) + kept) // 10_000 == 2946
    assert 4 * parameters_of(model) // 1_000_000 == 117


def test_the_forward_pass_is_that_of_torchs_own_pooling(model: nn.Module):
    """The network written anew, with max_unpool2d."""
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    indices, x = [], image
    with torch.no_grad():
        for stage in model.get_submodule("encoder").children():
            x, index = F.max_pool2d(stage(x), 2, 2, return_indices=True)
            indices.append(index)
        for stage in model.get_submodule("decoder").children():
            x = stage(F.max_unpool2d(x, indices.pop(), 2, 2))
        assert torch.equal(model(image), x)
