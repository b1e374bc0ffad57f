"""Exporters: the forms in which a bundle holds its network, one a file."""
