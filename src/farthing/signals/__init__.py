"""Confidence of an answer, and how the answer is read from a text."""

from farthing.signals.answers import READERS, reader
from farthing.signals.vote import Vote

__all__ = ["READERS", "Vote", "reader"]
