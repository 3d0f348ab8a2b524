"""A small residual network for images of 32 to 128 pixels, to be a teacher: --model small_resnet.py:small_resnet"""

import paddle.nn.functional as F
from paddle import nn


def convolution(in_chans, out_chans, kernel, stride=1):
    """Without bias, followed by a batch norm."""
    conv = nn.Conv2D(in_chans, out_chans, kernel, stride, kernel // 2, bias_attr=False)
    return nn.Sequential(("conv", conv), ("norm", nn.BatchNorm2D(out_chans)))


class ResidualBlock(nn.Layer):
    """Two 3 x 3 convolutions and a shortcut (ResNet, arXiv 1512.03385): [B, C, H, W] -> [B, out, H/stride, W/stride]"""

    def __init__(self, in_chans, out_chans, stride):
        super().__init__()
        self.first = convolution(in_chans, out_chans, 3, stride)
        self.second = convolution(out_chans, out_chans, 3)
        same = stride == 1 and in_chans == out_chans
        self.shortcut = nn.Identity() if same else convolution(in_chans, out_chans, 1, stride)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def small_resnet(num_classes=10, in_chans=3, widths=(24, 48, 96, 192), depths=(1, 2, 2, 2)):
    """A 3 x 3 stem of stride 2, residual blocks whose stages halve the resolution, mean, classifier: 1.6 million
    parameters. [B, C, H, W] -> [B, num_classes]"""
    layers = [convolution(in_chans, widths[0], 3, 2), nn.ReLU()]
    before = widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for index in range(depth):
            layers.append(ResidualBlock(before, width, 2 if stage and not index else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(before, num_classes))
