"""The application that commands join, and how their failures are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

import lima

WrongUsage = cast(type[Exception], typer.BadParameter.__mro__[2])
"""What typer raises for a wrong command line, a class that not all of its releases name alike."""

app = typer.Typer(
    name="lima",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Lineage tracing and reuse for NumPy programs.",
)


class Failure(Exception):
    """A command cannot do what was asked; the message is the line that the user sees."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for wrong usage.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    lima ...
    0
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        found = typer.main.get_command(app).main(given, prog_name="lima", standalone_mode=False)
    except WrongUsage as error:
        text = error.format_message()  # type: ignore[attr-defined]
        return _complain(f"{text} See `lima --help`.", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except BrokenPipeError:  # whoever read our output has had enough of it: `lima log x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(": ".join(filter(None, [error.filename, error.strerror or str(error)])))
    except (Failure, lima.LimaError) as error:
        return _complain(str(error))
    return found if isinstance(found, int) else 0


def _complain(text: str, status: int = 1) -> int:
    line = " ".join(str(text).split())
    print(f"lima: error: {line}", file=sys.stderr)  # noqa: T201
    return status


def say(text: str = "") -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(
            f"lima {lima.__version__} ({'compiled' if lima.__compiled__ else 'interpreted'})"
        )
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
