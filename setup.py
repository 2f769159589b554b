"""The build: the modules that every operation passes are compiled where that is possible.

They are ordinary Python; `.pxd` files beside them declare the types of their fields and of the
locals of hot functions. Without a C compiler the same modules run interpreted, at two to three
times the cost per operation; nothing else differs.
"""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "node values sessions forcing runtime handle calls indexing operators op entries cache flight"
).split()


class OptionalBuild(build_ext):
    """All modules or none: compiled ones rely on each other's layout."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        try:
            super().run()
        except Exception as error:  # no compiler, no headers
            sys.stderr.write(f"lima stays interpreted, since compiling it failed: {error}\n")
            for extension in self.extensions:
                path = self.get_ext_fullpath(extension.name)
                if os.path.exists(path):
                    os.remove(path)
            self.extensions = []

    def get_outputs(self):
        return [path for path in super().get_outputs() if os.path.exists(path)]


def extensions():
    """What to compile; nothing with LIMA_PURE set."""
    if os.environ.get("LIMA_PURE"):
        return []
    flags = [] if os.name == "nt" else ["-O2", "-g0"]
    modules = [
        Extension(f"lima.{name}", [f"lima/{name}.py"], extra_compile_args=flags)
        for name in COMPILED
    ]
    directives = {"language_level": 3, "annotation_typing": False, "nonecheck": True}
    return cythonize(
        modules, build_dir="build/cython", nthreads=os.cpu_count(), compiler_directives=directives
    )


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
