"""U-Net as published: a contracting path, an expanding path, and skip connections between them.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
arXiv:1505.04597.

As there: two 3x3 convolutions with ReLU at each of five resolutions, 64 to 1,024 channels; 2x2 max pooling down; 2x2
transposed convolutions ("up-convolutions") up; the encoder's maps concatenated; dropout at the end of the contracting
path; weights drawn with a standard deviation of sqrt(2 / N); a 1x1 convolution for the scores.

Departs:

- convolutions pad by default, so that skip connections need no cropping. `padding: false` is the paper's network: its
  convolutions lose their borders, the photo is continued by mirroring, and the answers of overlapping tiles are those
  of the whole photo (the paper's overlap-tile strategy, figure 2);
- `batch_norm` normalises after each convolution, which the paper came too early for;
- photos have three channels, not one.

For a U-Net with a pretrained encoder see `unet.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.models.registry import Paper, register

PAPER = Paper(
    "Ronneberger, Fischer, Brox",
    "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    "MICCAI 2015",
    "1505.04597",
    "Figure 1",
)

LEVELS = 5

BORDER = 92
"""What the unpadded network loses on each side, in pixels: 572 become 388 (figure 1 of the paper)."""


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation if wanted and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, padding: bool, batch_norm: bool) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(nn.Conv2d(channels, out_channels, 3, padding=int(padding)))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


EXPLANATION = (
    "The left side of the U shrinks the photo four times and learns what is there; the right side enlarges the "
    "map again and learns where. At each size the right side gets a copy of what the left side saw at that size, "
    "and so draws sharp borders."
)


@register(
    "unet2015",
    family="U-Net",
    encoder="its own encoder",
    paper=PAPER,
    summary="Each level of the contracting path hands its features to the level of the expanding path beside it.",
    strengths="Fine detail from few training photos of one kind: cells, roads, documents.",
    limits="Starts from random weights, so photographs of many things take far more than with a pretrained encoder. "
    "Slow: nearly half of its work is done at the two finest resolutions.",
    explanation=EXPLANATION,
)
class UNet2015(nn.Module):
    """The U-Net of the paper; see the head of the file.

    Args:
        num_classes: number of output channels, the background included.
        padding: pad the convolutions; without it, the photo is mirrored at its borders.
        batch_norm: normalise after each convolution.
        width: channels at the photo's resolution; twice as many at each level below.
        dropout: share of the coarsest level's activations that are dropped in training.
    """

    def __init__(
        self, *, num_classes: int, padding: bool = True, batch_norm: bool = False, width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width!r}, expected 1 or more")
        self.padding = padding
        self.size_multiple = 2 ** (LEVELS - 1) if padding else 1
        widths = [width * 2**level for level in range(LEVELS)]
        inputs = [3, *widths]
        self.down = nn.ModuleList(
            DoubleConv(inputs[level], widths[level], padding=padding, batch_norm=batch_norm) for level in range(LEVELS)
        )
        self.dropout = nn.Dropout(dropout)
        self.upconv = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2) for level in reversed(range(LEVELS - 1))
        )
        self.up = nn.ModuleList(
            DoubleConv(widths[level + 1], widths[level], padding=padding, batch_norm=batch_norm)
            for level in reversed(range(LEVELS - 1))
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # N, the incoming nodes of a neuron: a 2x2 up-convolution of stride 2 brings one pixel to each.
                nodes = layer.in_channels * (layer.kernel_size[0] ** 2 if isinstance(layer, nn.Conv2d) else 1)
                nn.init.normal_(layer.weight, std=(2 / nodes) ** 0.5)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes, H, W) logits, for any H, W >= 1."""
        height, width = x.shape[-2:]
        if self.padding:
            x = F.pad(x, (0, -width % self.size_multiple, 0, -height % self.size_multiple))
        else:
            x = _mirrored(_mirrored(x, dim=2), dim=3)
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for upconv, block in zip(self.upconv, self.up, strict=True):
            x = upconv(x)
            skip = _centre(skips.pop(), x.shape[-2], x.shape[-1])
            x = block(torch.cat([skip, x], dim=1))
        logits: Tensor = self.classifier(x)
        return logits[..., :height, :width]


def _mirrored(x: Tensor, *, dim: int) -> Tensor:
    """A side of H pixels continued by mirroring to what the unpadded network makes at least H of: 16 n + 124 pixels."""
    length = x.shape[dim]
    coarse = (length + 60 + 15) // 16  # n: the coarsest map ends with n pixels, the answer with 16 n - 60 >= H
    index = torch.arange(16 * coarse + 124, device=x.device) - BORDER
    index = index.remainder(2 * length)  # mirrored again where the photo is smaller than the border
    return x.index_select(dim, torch.where(index < length, index, 2 * length - 1 - index))


def _centre(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of a map, at a given size."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]
