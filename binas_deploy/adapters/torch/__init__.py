"""torch as a device. Only `device` and `settings` may be imported where torch is absent."""
