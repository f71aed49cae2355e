"""FCN-32s, FCN-16s and FCN-8s on VGG-16.

Source: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv:1411.4038,
and the layers of the authors' `voc-fcn32s`, `voc-fcn16s` and `voc-fcn8s` (https://github.com/shelhamer/fcn.berkeleyvision.org).

As there: the two fully connected layers of VGG-16 are convolutions, fc6 (7x7) and fc7 (1x1), with dropout; a 1x1
convolution that starts at zero scores the classes; scores are upsampled by transposed convolutions that start as
bilinear interpolation and learn; FCN-16s adds the scores of pool4 to those of fc7, FCN-8s those of pool3 as well. The
photo is padded by 100 pixels, so that fc6, which does not pad, sees any photo whole; the answer is cropped to it.

Departs:

- all upsampling learns, and mixes classes; in the authors' later release the last step is fixed;
- `same_padding` pads fc6 and the convolutions like all others in the field, and not the photo: 1.7 times fewer
  multiply-adds at 512x512, other values near the border;
- `batch_norm` takes VGG-16 with batch normalisation, which trains without the authors' care about learning rates;
- Caffe's weights are not read: they want BGR from 0 to 255. ImageNet weights are torchvision's.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.models.registry import Paper, Weights, register
from pixelwise.models.vgg import load_vgg16, vgg16_stages
from pixelwise.models.weights import State, fit

PAPER = Paper(
    "Long, Shelhamer, Darrell",
    "Fully Convolutional Networks for Semantic Segmentation",
    "CVPR 2015",
    "1411.4038",
    "Figure 3",
)
WEIGHTS = {"imagenet": Weights("VGG16_Weights.IMAGENET1K_V1")}

# Where the authors crop, in pixels of the map that is cropped. It follows from where the middle of each map's first
# pixel lies in the photo; tests/models/test_fcn.py works it out.
CROP_POOL4, CROP_POOL3 = 5, 9
CROP_PHOTO = {32: 19, 16: 27, 8: 31}


class FCN(nn.Module):
    """The network of all three; see the head of the file.

    Args:
        num_classes: number of output channels, the background included.
        batch_norm: VGG-16 with batch normalisation.
        same_padding: pad each convolution by half its kernel, not the photo by 100 pixels.
        dropout: share of the activations of fc6 and fc7 that are dropped in training.
        width: channels of fc6 and fc7.
    """

    stride: ClassVar[int]
    """That of the finest scores: 32, 16 or 8."""

    def __init__(
        self,
        *,
        num_classes: int,
        batch_norm: bool = False,
        same_padding: bool = False,
        dropout: float = 0.5,
        width: int = 4096,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width!r}, expected 1 or more")
        self.batch_norm, self.same_padding = batch_norm, same_padding
        self.size_multiple = 32 if same_padding else 1
        self.encoder = vgg16_stages(batch_norm=batch_norm, first_padding=1 if same_padding else 100)
        self.fc6 = nn.Conv2d(512, width, 7, padding=3 if same_padding else 0)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.dropout = nn.Dropout(dropout)
        self.score_fr = Score(width, num_classes)
        if self.stride <= 16:
            self.score_pool4 = Score(512, num_classes)
            self.upscore2 = Upsampling(num_classes, 2, crop=same_padding)
        if self.stride <= 8:
            self.score_pool3 = Score(256, num_classes)
            self.upscore_pool4 = Upsampling(num_classes, 2, crop=same_padding)
        self.upscore = Upsampling(num_classes, self.stride, crop=same_padding)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes, H, W) logits, for any H, W >= 1."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.size_multiple, 0, -height % self.size_multiple))
        pools = []
        for stage in self.encoder.values():
            x = F.max_pool2d(stage(x), 2, 2, ceil_mode=True)  # (B, C, ceil(H / 2), ceil(W / 2)), as Caffe pools
            pools.append(x)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        scores = self.score_fr(x)  # (B, num_classes, h, w) at stride 32
        if self.stride <= 16:
            scores = self._fuse(self.upscore2(scores), self.score_pool4(pools[3]), CROP_POOL4)
        if self.stride <= 8:
            scores = self._fuse(self.upscore_pool4(scores), self.score_pool3(pools[2]), CROP_POOL3)
        return self._cropped(self.upscore(scores), CROP_PHOTO[self.stride], height, width)

    def _fuse(self, scores: Tensor, finer: Tensor, crop: int) -> Tensor:
        """The sum of upsampled scores and of those of a finer map, cropped to them."""
        return scores + self._cropped(finer, crop, *scores.shape[-2:])

    def _cropped(self, x: Tensor, crop: int, height: int, width: int) -> Tensor:
        start = 0 if self.same_padding else crop
        return x[..., start : start + height, start : start + width]

    def load_encoder(self, weights: str | Path) -> None:
        """Load torchvision's ImageNet weights of VGG-16, fc6 and fc7 included where they have VGG's 4,096 channels.

        Raises:
            PixelwiseError: the weights cannot be had, or do not fit.
        """
        state = load_vgg16(self.encoder, weights, batch_norm=self.batch_norm)
        for number, layer in (("0", self.fc6), ("3", self.fc7)):
            weight = state.get(f"classifier.{number}.weight")
            if weight is not None and weight.numel() == layer.weight.numel():
                values = {"weight": weight.view_as(layer.weight), "bias": state[f"classifier.{number}.bias"]}
                fit(layer, values, source=str(weights))

    def grown(self, state: State) -> State:
        """The state of a coarser FCN with what this one has beyond it: score layers at zero, bilinear upsampling.

        The paper trains FCN-32s, FCN-16s from it, and FCN-8s from that, each at a lower learning rate; at the start,
        each answers as the one before but for the shape of the interpolation.
        """
        own = self.state_dict()
        missing = {key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")}
        beyond_16s = {key for key in own if key.startswith(("score_pool3.", "upscore_pool4."))}
        beyond_32s = beyond_16s | {key for key in own if key.startswith(("score_pool4.", "upscore2."))}
        coarser = missing and missing in (beyond_16s, beyond_32s) and state.keys() < own.keys()
        return {**own, **state, "upscore.weight": own["upscore.weight"]} if coarser else state


class Upsampling(nn.ConvTranspose2d):
    """Transposed convolution of kernel 2 s and stride s that starts as bilinear interpolation of each channel.

    Args:
        channels: of input and output.
        factor: s, even.
        crop: leave out s / 2 at each border, so that (h, w) becomes (s h, s w), not (s (h + 1), s (w + 1)).
    """

    def __init__(self, channels: int, factor: int, *, crop: bool) -> None:
        super().__init__(channels, channels, 2 * factor, stride=factor, padding=factor // 2 if crop else 0, bias=False)
        tent = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = tent[:, None] * tent


class Score(nn.Conv2d):
    """1x1 convolution that starts at zero, as the authors' score layers do.

    In training the bias is added outside of the convolution: torch 2.15 on processors with AMX writes past the end of
    the gradient of a bias of fewer than 16 classes where 4,096 channels are scored in bf16, and the process dies.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, num_classes, H, W)."""
        if not self.training:
            return super().forward(x)
        scores = F.conv2d(x, self.weight)
        return scores + self.bias.to(scores.dtype)[:, None, None]  # type: ignore[union-attr]


EXPLANATION = (
    "A network that names the one thing in a photo is made to name what is at every place of it: its last layers, "
    "which weighed up the whole picture at once, become convolutions, so that the network slides over a photo of "
    "any size and answers every 32 pixels. These coarse answers are enlarged to the photo's size by an "
    "interpolation that is learned. FCN-32s does so in one step. FCN-16s and FCN-8s add the answers of earlier, "
    "finer layers on the way (pool4; pool4 and pool3), which know less of what a thing is, but more of where it "
    "ends."
)


@register(
    "fcn32s",
    family="FCN",
    encoder="VGG-16",
    paper=PAPER,
    weights=WEIGHTS,
    summary="VGG-16 made fully convolutional: scores at stride 32, interpolated to the photo in one step.",
    strengths="The simplest of the family and the first stage of training FCN-16s and FCN-8s.",
    limits="Borders are as coarse as its stride of 32; 136 million weights, three quarters of them in fc6.",
    explanation=EXPLANATION,
)
class FCN32s(FCN):
    """FCN-32s; the arguments are those of `FCN`."""

    stride = 32


@register(
    "fcn16s",
    family="FCN",
    encoder="VGG-16",
    paper=PAPER,
    weights=WEIGHTS,
    summary="FCN-32s with the scores of pool4, at stride 16, added before the last interpolation.",
    strengths="Most of the gain of FCN-8s; starts from a trained FCN-32s and keeps what that learned.",
    limits="Thin structures are still lost; large, like all on VGG-16.",
    explanation=EXPLANATION,
)
class FCN16s(FCN):
    """FCN-16s; the arguments are those of `FCN`."""

    stride = 16


@register(
    "fcn8s",
    family="FCN",
    encoder="VGG-16",
    paper=PAPER,
    weights=WEIGHTS,
    summary="FCN-16s with the scores of pool3, at stride 8, added as well.",
    strengths="The finest of the three; what later work means by FCN-8.",
    limits="Scores are fused, not features, so fine detail has few channels to speak through; large and slow.",
    explanation=EXPLANATION,
)
class FCN8s(FCN):
    """FCN-8s; the arguments are those of `FCN`."""

    stride = 8
