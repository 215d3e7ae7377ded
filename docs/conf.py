"""Sphinx configuration. Build: sphinx-build -W docs docs/_build/html"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "zxmpp"
author = "the zxmpp maintainers"
copyright = "2026, the zxmpp maintainers"
release = version_of("zxmpp")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
extensions += ["drawing", "generated", "indexes"]  # in _ext
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "zxmpp"

# Docstrings mark names of the code with single backticks.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = False
