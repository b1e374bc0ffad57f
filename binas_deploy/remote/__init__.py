"""Devices on other machines: an agent there, a link to it by the system's own ``ssh``, and the device they make."""
