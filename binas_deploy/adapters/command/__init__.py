"""A device behind the user's own benchmark command, on this machine or over ssh."""
