"""Configuration of the documentation; build it with `sphinx-build -W docs docs/_build`."""

import tomllib
from collections import Counter
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

import lima

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
PAGES = ("architecture", "conformance", "coverage", "digest", "limits", "log-format", "rules")
if any(not (HERE / f"{page}.md").exists() for page in PAGES):
    suppress_warnings = ["toc.not_readable", "myst.xref_missing"]


class CoverageTable(SphinxDirective):
    """What lima does with each function of NumPy, as a table."""

    def run(self):
        found = lima.coverage()
        counts = Counter(row.how for row in found)
        lines = [
            ", ".join(f"{count} {how}" for how, count in counts.most_common()) + ".",
            "",
            "| function | | operation, or why not |",
            "|---|---|---|",
            *(f"| `{row.name}` | {row.how} | {row.why} |" for row in found),
        ]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    app.add_directive("coverage-table", CoverageTable)
