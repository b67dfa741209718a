"""byolmeta: teach a computer to see your own pictures (BYOL, a map, a few examples)."""

__version__ = "0.1.0"
