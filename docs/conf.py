"""Sphinx configuration; `scripts/docs` builds with every warning an error."""

from importlib.metadata import version

project = "Farthing"
author = "The Farthing authors"
copyright = "The Farthing authors"
version = release = version("farthing")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]  # console blocks show abridged output

html_theme = "furo"
html_title = "Farthing"
