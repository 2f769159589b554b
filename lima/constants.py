"""Values of Python's standard library that never change, as bytes: dates, paths, exact numbers.

Nothing is imported for them: who has such a value has imported its module.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import Any

from lima.errors import NotCanonical
from lima.node import encode

PATH_EFFECTS = frozenset(
    """
    absolute chmod copy copy_into cwd exists expanduser glob group hardlink_to home is_block_device
    is_char_device is_dir is_fifo is_file is_junction is_mount is_socket is_symlink iterdir lchmod
    link_to lstat mkdir move move_into open owner read_bytes read_text readlink rename replace
    resolve rglob rmdir samefile stat symlink_to touch unlink walk write_bytes write_text info
    """.split()
)
"""Methods of paths that look at the file system, or change it."""


DATE_EFFECTS = frozenset("now today utcnow astimezone timestamp strftime fromtimestamp".split())
"""Methods of dates that look at the clock, or at the settings of the process."""


def _aware(x: Any, text: str) -> Any:
    """A date with a time, and the zone it is in."""
    zone = x.tzinfo
    return text, x.fold, None if zone is None else parts_of(zone)


def _zone(x: Any) -> Any:
    if x.key is None:
        raise NotCanonical("a time zone that was read from a file")
    return x.key


def _decimal(x: Any) -> Any:
    """A decimal number, and the settings by which it is reckoned with."""
    c = sys.modules[type(x).__module__].getcontext()
    traps = tuple(sorted(signal.__name__ for signal, on in c.traps.items() if on))
    settings = c.prec, c.rounding, c.Emin, c.Emax, c.capitals, c.clamp, traps
    return tuple(x.as_tuple()), settings


_span: Callable[[Any], Any] = lambda x: (x.days, x.seconds, x.microseconds)  # noqa: E731

_PARTS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("datetime", "date"): lambda x: x.isoformat(),
    ("datetime", "datetime"): lambda x: _aware(x, x.replace(tzinfo=None).isoformat()),
    ("datetime", "time"): lambda x: _aware(x, x.replace(tzinfo=None).isoformat()),
    ("datetime", "timedelta"): _span,
    ("datetime", "timezone"): lambda x: (_span(x.utcoffset(None)), x.tzname(None)),
    ("zoneinfo", "ZoneInfo"): _zone,
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): lambda x: (x.numerator, x.denominator),
    ("uuid", "UUID"): lambda x: x.int,
    ("re", "Pattern"): lambda x: (x.pattern, x.flags),
    **{
        (home, f"{kind}Path"): str
        for home in ("pathlib", "pathlib._local")
        for kind in ("PurePosix", "Posix", "PureWindows", "Windows")
    },
}
"""What the values of a class are made of, as something that has an encoding."""


def parts_of(x: Any) -> Any:
    """Class and parts of a value; None for what is not of these classes."""
    kind = type(x)
    name = kind.__module__, kind.__qualname__
    if type(name[0]) is not str:  # a class may put anything there
        return None
    parts = _PARTS.get(name)
    if parts is None or getattr(sys.modules.get(name[0]), name[1], None) is not kind:
        return None
    return (*name, parts(x))


def content(x: Any) -> bytes | None:
    """Bytes for a value that never changes; None where it is of none of these classes."""
    parts = parts_of(x)
    return None if parts is None else b"constant" + encode(parts)


_EFFECTS = {"pathlib": PATH_EFFECTS, "datetime": DATE_EFFECTS}


def effects(x: Any) -> frozenset[str]:
    """Names of the methods of a value that look at more than the value."""
    return _EFFECTS.get(type(x).__module__.partition(".")[0], frozenset())


def is_member(x: Any) -> bool:
    """Whether `x` is a member of an enumeration, of which there is one object."""
    return isinstance(type(x), enum.EnumType)
