"""The build: the modules that every operation passes are compiled where that is possible.

They are ordinary Python; `.pxd` files beside them declare the types of their fields and of the
locals of hot functions. Without a C compiler the same modules run interpreted, at two to three
times the cost per operation; nothing else differs.
"""

import os
import sys

import numpy
from Cython.Build import cythonize
from Cython.Compiler.Options import get_directive_defaults
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "cost stats places trials node graph steps spools winding op entries policies flight cache"
    " leaves values sessions fusion forcing pieces rewrite runtime handle writes barriers spans"
    " others calls indexing operators flat in_place methods array stand_in ops.infer"
    " ops.elementwise ops.forms ops.products ops.normal ops.structure ops.reduction"
).split()

KERNELS = ("loops", "short_rows", "columns", "tall", "narrow", "buffers")


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


DIRECTIVES = {"language_level": 3, "annotation_typing": False, "nonecheck": True}
MORE_DIRECTIVES = {
    "node": {"no_gc": True},  # lineage has no cycles, and is most of what a long program keeps
    "values": {"freelist": 64},
    "handle": {"freelist": 64},
}


# Otherwise known as decorators only, which would need Cython where the modules run.
get_directive_defaults().update(no_gc=False, freelist=0)


def extensions():
    """What to compile; nothing with LIMA_PURE set."""
    if os.environ.get("LIMA_PURE"):
        return []
    # A product and a sum contracted to one instruction would round once where NumPy rounds twice.
    flags = [] if os.name == "nt" else ["-O2", "-g0", "-ffp-contract=off"]
    options = {
        "include_dirs": [numpy.get_include(), "lima"],
        "depends": ["lima/lanes.h"],
        "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        "extra_compile_args": flags,
    }
    kernels = [Extension(f"lima.{name}", [f"lima/{name}.pyx"], **options) for name in KERNELS]
    for module in kernels:
        module.extra_compile_args = [flag.replace("-O2", "-O3") for flag in flags]  # vector code
    found = cythonize(kernels, build_dir="build/cython")
    for name in COMPILED:
        module = Extension(f"lima.{name}", [f"lima/{name.replace('.', '/')}.py"], **options)
        directives = DIRECTIVES | MORE_DIRECTIVES.get(name, {})
        found += cythonize([module], build_dir="build/cython", compiler_directives=directives)
    return found


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
