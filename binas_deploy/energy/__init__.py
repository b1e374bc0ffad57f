"""Sensors of energy: what they are asked, and those that Linux and NVIDIA's driver offer."""

from binas_deploy.energy.base import EnergySensor
from binas_deploy.energy.find import find_sensor

__all__ = ["EnergySensor", "find_sensor"]
