"""For tests, here and in packages that add devices: simulated networks and devices, and the exams of adapters.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from binas_deploy.testing.device_suite import DeviceSuite

__all__ = ["DeviceSuite"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from binas_deploy.testing.device_suite import DeviceSuite

    globals()[name] = DeviceSuite
    return DeviceSuite
