"""The exceptions lima raises: each is also the Python or NumPy kind a caller would expect."""

from __future__ import annotations


class LimaError(Exception):
    """Base class of every error that lima itself raises.

    >>> issubclass(LogError, LimaError) and issubclass(LogError, ValueError)
    True
    """


class NotCanonical(LimaError, TypeError):
    """A value has no canonical byte encoding, so it cannot be part of a digest."""


class UnsupportedError(LimaError, NotImplementedError):
    """NumPy allows this call, lima cannot yet do it without risking a wrong answer."""


class TracingError(LimaError, TypeError):
    """Something that cannot be traced was given to `lima.traced`."""


class ConfigError(LimaError, ValueError):
    """An option has an unknown name or a value outside its range."""


class LogError(LimaError, ValueError):
    """A lineage log is malformed; the message gives the line number and what was expected."""


class ReplayError(LimaError, RuntimeError):
    """A lineage cannot be recomputed: an input is missing, differs, or cannot be replayed."""


class StoreError(LimaError, OSError):
    """A store on disk cannot be used; the message says why, and what to do."""


class StoreWarning(UserWarning):
    """A store on disk is of no use, or only in part; the program goes on by computing."""


class UnknownLineage(LimaError, LookupError):
    """No lineage is known for the given value."""


class QueryError(LimaError, ValueError):
    """A question in SQL that cannot be answered; the message says what SQLite refuses."""


class InternalError(LimaError, AssertionError):
    """A broken invariant of lima itself; please report it."""
