"""What a provider computes on, as facts: the accelerator's model and not the CPU's, where it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from binas_deploy.adapters import host, intel, nvidia
from binas_deploy.adapters.onnxruntime.plugin import hardware_name, plugin_device
from binas_deploy.adapters.onnxruntime.provider import Provider
from binas_deploy.adapters.onnxruntime.runtime import RUNTIME


@dataclass(frozen=True)
class Hardware:
    """``model``: what computes; of a plug-in, ``options``: what latencies depend on; ``context``: what may matter."""

    model: str
    options: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)


def hardware_of(provider: Provider) -> Hardware:
    """What ``provider`` computes on here.

    Raises:
        DeviceError: it is not there.
        MissingExtraError: a plug-in is asked for, and onnxruntime is not installed.
    """
    plugin = _of_plugin(provider) if provider.library else Hardware("")
    if provider.kind == "nvidia":
        gpu = nvidia.gpu(provider.index)
        return Hardware(gpu.model, plugin.options, {**plugin.context, "gpu_driver": gpu.driver})
    if provider.kind in ("gpu", "npu"):
        found = intel.accelerator_context()
        named = plugin.model or found.get(f"intel_{provider.kind}", "")
        return Hardware(named or f"{provider.kind} of {host.cpu_model()}", plugin.options, {**plugin.context, **found})
    # Chips such as Apple's and Qualcomm's carry their accelerators, so the CPU's name tells them too.
    return Hardware(plugin.model or host.cpu_model(), plugin.options, plugin.context)


def _of_plugin(provider: Provider) -> Hardware:
    device = plugin_device(RUNTIME.imported(), provider)
    version = str(device.ep_metadata.get("version", "unknown"))
    model = hardware_name(device) if device.device.type.name != "CPU" else ""
    return Hardware(model, {"library": ".".join(version.split(".")[:2])}, {"library_version_full": version})
