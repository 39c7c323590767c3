"""Bounds on what could be saved."""
