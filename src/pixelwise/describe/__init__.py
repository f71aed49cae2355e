"""Architectures described: traced, counted, told stage by stage, and drawn. Importing this package imports torch."""

from pixelwise.describe.description import CONVENTION, Description, describe

__all__ = ["CONVENTION", "Description", "describe"]
