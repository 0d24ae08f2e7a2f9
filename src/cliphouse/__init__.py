"""CLIP + ClickHouse: search image-text pairs by words or by picture."""

from importlib.metadata import version

__version__ = version("cliphouse")
