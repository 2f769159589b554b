"""Configuration of the documentation; build it with `sphinx-build -W docs docs/_build`."""

import tomllib
from pathlib import Path

HERE = Path(__file__).parent
METADATA = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]

project = "lima"
author = "The lima authors"
copyright = author
release = version = METADATA["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# The reference follows `lima.__all__`, whose order is by meaning.
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings write `name` as Markdown does

html_theme = "pydata_sphinx_theme"
html_title = f"lima {version}"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False
exclude_patterns = ["_build"]

# A page that is named in the index and absent from the folder is no reason to fail the build.
PAGES = ("architecture", "digest", "limits", "log-format", "rules")
if any(not (HERE / f"{page}.md").exists() for page in PAGES):
    suppress_warnings = ["toc.not_readable", "myst.xref_missing"]
