"""For tests, here and in packages that add devices: a simulated device and the conformance suite."""
