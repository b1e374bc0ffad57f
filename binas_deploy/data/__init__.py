"""Image data sets: CIFAR-10 in the cache, image folders, NumPy files."""

from binas_deploy.data.base import Dataset, Split, normalise
from binas_deploy.data.cifar10 import fetch_cifar10
from binas_deploy.data.load import load_dataset

__all__ = ["Dataset", "Split", "fetch_cifar10", "load_dataset", "normalise"]
