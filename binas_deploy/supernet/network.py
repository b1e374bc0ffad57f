"""`Supernet`, which holds every network of a space, and `Network`, one of them on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from binas_deploy.block import Block, Op, Option
from binas_deploy.space import Architecture, SearchSpace
from binas_deploy.supernet.modules import (
    BN_EPSILON,
    BatchNorm,
    BottleneckModule,
    Conv,
    ConvModule,
    HeadModule,
    block_module,
)


class Supernet(nn.Module):
    """Weights shared over expansion (first channels), kernel (centre), depth (first blocks) and SE (on or off)."""

    def __init__(self, space: SearchSpace, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.space = space
        self.stem = ConvModule(space.stem)
        self.stages = nn.ModuleList(
            nn.ModuleList(block_module(widest_block(space, s, j)) for j in range(stage.max_depth))
            for s, stage in enumerate(space.stages)
        )
        self.head = HeadModule(space.head, dropout)

    def forward(self, x: Tensor, arch: Architecture) -> Tensor:
        """Logits (n, classes) of network ``arch`` for images (n, c, r, r)."""
        x = self.stem(x, self.space.stem)
        for s, row in enumerate(arch.options):
            for j, option in enumerate(row):
                x = self.stages[s][j](x, self.space.block(s, j, option))  # type: ignore[index]  # ModuleList nests
        logits: Tensor = self.head(x)
        return logits


class Network(nn.Module):
    """One network with weights of its own."""

    def __init__(self, space: SearchSpace, arch: Architecture) -> None:
        super().__init__()
        self.space = space
        self.arch = space.validate(arch)
        self.stem = ConvModule(space.stem)
        self.stages = nn.ModuleList(
            nn.ModuleList(block_module(space.block(s, j, option)) for j, option in enumerate(row))
            for s, row in enumerate(arch.options)
        )
        self.head = HeadModule(space.head)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) for images (n, c, r, r)."""
        return Supernet.forward(self, x, self.arch)  # type: ignore[arg-type]  # same members, one way to compute


def widest_block(space: SearchSpace, stage: int, position: int) -> Block:
    """The block that holds every option of a position: the largest of each of its numbers."""
    options = [option for option in space.stages[stage].options[position] if option.op is not Op.IDENTITY]
    widest = Option(
        options[0].op,
        max(option.kernel for option in options),
        max(option.expansion for option in options),
        max(option.se_ratio for option in options),
    )
    return replace(space.block(stage, position, 0), option=widest)


def extract(supernet: Supernet, arch: Architecture) -> Network:
    """Copy one network out of the supernet, on its device; batch normalisation must then be recalibrated."""
    network = Network(supernet.space, arch).to(supernet.head.classifier.weight.device)
    source = supernet.state_dict()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.copy_(_leading(source[name], tensor))
    return network.eval()


def _leading(wide: Tensor, like: Tensor) -> Tensor:
    """The first channels of ``wide`` and the centre of its kernel, in the shape of ``like``."""
    for axis, size in enumerate(like.shape):
        start = (wide.shape[axis] - size) // 2 if axis >= 2 else 0
        wide = wide.narrow(axis, start, size)
    return wide


def folded_weights(network: Network) -> dict[str, NDArray[np.float32]]:
    """Float32 arrays with batch normalisation folded in, named as the graph builder wants them."""
    folded: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    for name, module in modules.items():
        if isinstance(module, Conv):
            folded[f"{name}.weight"], folded[f"{name}.bias"] = _fold(module, modules.get(f"{name}_bn"))
    folded["head.classifier.weight"] = network.head.classifier.weight
    folded["head.classifier.bias"] = network.head.classifier.bias
    return {name: tensor.detach().float().cpu().contiguous().numpy().copy() for name, tensor in folded.items()}


def _fold(conv: Conv, bn: nn.Module | None) -> tuple[Tensor, Tensor]:
    weight = conv.weight.double()
    bias = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias.double()
    if not isinstance(bn, BatchNorm):
        return weight, bias
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + BN_EPSILON)
    return weight * scale[:, None, None, None], (bias - bn.running_mean.double()) * scale + bn.bias.double()


def sort_channels(supernet: Supernet) -> None:
    """Order the inner channels of each bottleneck by importance, so that narrower blocks keep the useful ones.

    Importance of an expanded channel is the L1 norm of its projection weights times its normalisation scale (the
    criterion of once-for-all, arXiv 1908.09791, with the scale that follows here); of a squeezed one the L1 norm of
    its excitation weights. The function of the widest network does not change.
    """
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, BottleneckModule):
                _sort_bottleneck(module)


def _sort_bottleneck(module: BottleneckModule) -> None:
    expanded = hasattr(module, "expand")
    if hasattr(module, "squeeze"):
        order = module.excite.weight.abs().sum((0, 2, 3)).argsort(descending=True)
        _permute(module.squeeze, order)
        module.excite.weight.copy_(module.excite.weight[:, order])
    if not expanded:
        return  # the channels of a depthwise-separable block are its input's: their order is not its own
    importance = module.project.weight.abs().sum((0, 2, 3)) * module.depthwise_bn.weight.abs()
    order = importance.argsort(descending=True)
    for part in (module.expand, module.expand_bn, module.depthwise, module.depthwise_bn):
        _permute(part, order)
    module.project.weight.copy_(module.project.weight[:, order])
    if hasattr(module, "squeeze"):
        module.squeeze.weight.copy_(module.squeeze.weight[:, order])
        _permute(module.excite, order)


def _permute(module: nn.Module, order: Tensor) -> None:
    """Reorder the first axis of every tensor of ``module``."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.copy_(tensor[order])
