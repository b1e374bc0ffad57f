"""Torch modules of the pieces. One class serves the supernet and stand-alone networks.

A module owns the weights of its *widest* block and computes any narrower one by taking the first channels and the
centre of the kernel. A stand-alone network is the case where the widest block is the only one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from binas_deploy.block import Activation, Block, Head, Op

BN_EPSILON = 1e-5

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.RELU: F.relu,
    Activation.RELU6: F.relu6,
    Activation.HARD_SWISH: F.hardswish,
    Activation.SWISH: F.silu,
}


class BatchNorm(nn.Module):
    """Batch normalisation over the first channels of a wider one.

    In training it uses the batch and touches no running statistics: those of shared weights belong to no network.
    They are collected for one stand-alone network at a time while ``collecting`` (see ``recalibrate``).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.collecting = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` of shape (n, c, h, w), c at most the channels owned."""
        c = x.shape[1]
        if not self.training:
            return F.batch_norm(
                x, self.running_mean[:c], self.running_var[:c], self.weight[:c], self.bias[:c], False, 0.0, BN_EPSILON
            )
        if self.collecting:
            momentum = 1.0 / self.collecting
            self.collecting += 1
            mean, var = self.running_mean[:c], self.running_var[:c]
            return F.batch_norm(x, mean, var, self.weight[:c], self.bias[:c], True, momentum, BN_EPSILON)
        return F.batch_norm(x, None, None, self.weight[:c], self.bias[:c], True, 0.0, BN_EPSILON)


class Conv(nn.Module):
    """Weight (out, in / groups, k, k) and optional bias of a convolution; slicing is the caller's."""

    def __init__(self, c_out: int, c_in: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel) * math.sqrt(2 / (c_in * kernel**2)))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None


class ConvModule(nn.Module):
    """Convolution, batch normalisation, activation."""

    def __init__(self, widest: Block) -> None:
        super().__init__()
        self.conv = Conv(widest.c_out, widest.c_in, widest.option.kernel)
        self.conv_bn = BatchNorm(widest.c_out)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        """(n, c_in, r, r) to (n, c_out, r', r')."""
        weight = centre(self.conv.weight, block.option.kernel)
        x = F.conv2d(x, weight, None, block.stride, block.option.kernel // 2)
        return _ACTIVATIONS[block.activation](self.conv_bn(x))


class BottleneckModule(nn.Module):
    """Depthwise-separable block or inverted residual, with optional squeeze-and-excitation and residual."""

    def __init__(self, widest: Block) -> None:
        super().__init__()
        mid = widest.mid
        if widest.option.op is Op.INVERTED_RESIDUAL:
            self.expand = Conv(mid, widest.c_in, 1)
            self.expand_bn = BatchNorm(mid)
        self.depthwise = Conv(mid, 1, widest.option.kernel)
        self.depthwise_bn = BatchNorm(mid)
        if widest.squeeze:
            self.squeeze = Conv(widest.squeeze, mid, 1, bias=True)
            self.excite = Conv(mid, widest.squeeze, 1, bias=True)
        self.project = Conv(widest.c_out, mid, 1)
        self.project_bn = BatchNorm(widest.c_out)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        """(n, c_in, r, r) to (n, c_out, r', r'), as ``block`` says."""
        if block.option.op is Op.IDENTITY:
            return x  # within a supernet the position holds other options too
        activation, mid = _ACTIVATIONS[block.activation], block.mid
        y = x
        if block.option.op is Op.INVERTED_RESIDUAL:
            y = activation(self.expand_bn(F.conv2d(y, self.expand.weight[:mid])))
        kernel = centre(self.depthwise.weight[:mid], block.option.kernel)
        y = F.conv2d(y, kernel, None, block.stride, block.option.kernel // 2, 1, mid)
        y = activation(self.depthwise_bn(y))
        if block.squeeze:
            y = y * self._gate(y, mid, block.squeeze)
        y = self.project_bn(F.conv2d(y, self.project.weight[:, :mid]))
        return torch.add(x, y) if block.residual else y

    def _gate(self, y: Tensor, mid: int, squeeze: int) -> Tensor:
        """Channel gate in 0..1, shape (n, mid, 1, 1)."""
        pooled = y.mean((2, 3), keepdim=True)
        hidden = F.conv2d(pooled, self.squeeze.weight[:squeeze, :mid], _first(self.squeeze, squeeze))
        gate = F.conv2d(F.relu(hidden), self.excite.weight[:mid, :squeeze], _first(self.excite, mid))
        return F.hardsigmoid(gate)


class IdentityModule(nn.Module):
    """A position whose only option is to do nothing."""

    def __init__(self, widest: Block) -> None:
        super().__init__()

    def forward(self, x: Tensor, block: Block) -> Tensor:
        """``x`` itself."""
        return x


class HeadModule(nn.Module):
    """Global average pool, optional hidden 1x1 convolution, dropout, classifier."""

    def __init__(self, head: Head, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = head
        self.dropout = dropout
        if head.hidden:
            self.hidden = Conv(head.hidden, head.c_in, 1, bias=True)
        self.classifier = nn.Linear(head.features, head.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, r, r) to logits (n, classes)."""
        x = x.mean((2, 3), keepdim=True)
        if self.head.hidden:
            x = _ACTIVATIONS[self.head.activation](F.conv2d(x, self.hidden.weight, self.hidden.bias))
        logits: Tensor = self.classifier(F.dropout(x.flatten(1), self.dropout, self.training))
        return logits


def block_module(widest: Block) -> nn.Module:
    """The module of one block position."""
    modules = {Op.CONV: ConvModule, Op.IDENTITY: IdentityModule}
    return modules.get(widest.option.op, BottleneckModule)(widest)


def centre(weight: Tensor, kernel: int) -> Tensor:
    """The central ``kernel`` x ``kernel`` taps of a weight (o, i, k, k)."""
    margin = (weight.shape[-1] - kernel) // 2
    if margin == 0:
        return weight
    return weight[:, :, margin : margin + kernel, margin : margin + kernel].contiguous()


def _first(conv: Conv, count: int) -> Tensor | None:
    return None if conv.bias is None else conv.bias[:count]
