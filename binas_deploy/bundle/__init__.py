"""Bundles: a network with its manifest, test vectors and verification."""
