"""One call of a traced function: what identifies it, and what it has changed (D7)."""

from __future__ import annotations

import functools
from typing import Any

from xxhash import xxh3_128_digest

from lima.bytecode import NotReusable
from lima.errors import NotCanonical
from lima.handle import Handle, root_of
from lima.kept import Draft, Refused
from lima.keys import Scan
from lima.node import encode
from lima.values import Value, error_modes
from lima.walk import Walk


class Look:
    """What a call depends on: its key before it runs, what became of that afterwards.

    work  the `lima.function.TracedFunction` that is called
    """

    def __init__(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.work = work
        arguments = work.parameters.bind(args, kwargs)
        if arguments is None:
            raise NotReusable("the arguments do not fit its parameters")
        self.ignored: Ignored | None = None
        if work.ignore:
            self.ignored = Ignored([arguments[k] for k in work.ignore])
            arguments = {k: v for k, v in arguments.items() if k not in work.ignore}
        if work.idle:
            arguments = {k: v for k, v in arguments.items() if k not in work.idle}
        self.arguments = arguments
        self.scan = scan = Scan()
        self.code, data = work.code.both()
        self.references = scan.look(arguments.values())
        self.own = (len(scan.boxes), len(scan.arrays), len(scan.generators))
        self.data = scan.look(data) if data else []
        options = scan.of_code(work.code)
        self.contents = scan.contents()
        scan.refuse_effects([work.code])
        names = _encoded_names(tuple(arguments))
        settings = _error_state() + scan.settings(work.code)
        head = [b"call", self.code, options, settings, names]
        self.key = xxh3_128_digest(
            b"".join(head + self.references + self.data + scan.forms + self.contents)
        )

    def untouched(self) -> bool:
        """Whether the call has changed nothing, as far as it can be seen from outside."""
        draft = Draft(self.scan, set(), 0.0)
        try:
            self.end(draft)
        except (Refused, NotReusable, NotCanonical, RecursionError):
            return False
        record = draft.record
        return not (record.written or record.changed or record.generators)

    def begin(self) -> None:
        """Note the values that the arrays have as the call begins."""
        self.values: list[Value] = [root._value for root in self.scan.arrays]

    def end(self, draft: Draft) -> None:
        """What the call changed goes into the draft; raises Refused for what must not change."""
        scan, (boxes, arrays, generators) = self.scan, self.own
        if self.work.code.digest() != self.code:
            raise Refused("it changes a function or class that it uses")
        after = Scan(scan)
        same = after.look(self.arguments.values()) == self.references
        if not same or after.look(self.work.code.data()) != self.data:
            raise Refused("it changes a variable that it uses, or the flags of an array")
        plain = slice(len(scan.arrays), len(scan.arrays) + len(scan.plain))
        if after.plain_contents(len(scan.plain)) != self.contents[plain]:
            raise Refused("it writes into an array that is no argument")
        if self.ignored is not None and self.ignored.changed():
            raise Refused("it changes an argument that is ignored")
        first = plain.stop + len(scan.generators)
        held = self.contents[first : first + len(scan.frames)]
        if after.frame_contents(len(scan.frames)) != held:
            raise Refused("it changes a frame of pandas")
        draft.writes(arrays, self.values, self.contents)
        draft.changes(boxes, after)
        draft.draws(generators, self.contents[plain.stop : plain.stop + len(scan.generators)])


class Ignored:
    """Arguments that do not decide the result. What a call does to them is an effect anyway."""

    def __init__(self, arguments: list[Any]) -> None:
        self.arguments = arguments
        self.arrays: list[tuple[Handle, Value]] = []

        def look(x: Any) -> Any:
            if isinstance(x, Handle):
                self.arrays.append((root_of(x), root_of(x)._value))
            return x

        Walk(look)(list(arguments))
        self.forms = self._forms()

    def _forms(self) -> Any:
        """What they hold, as far as it can be told."""
        scan = Scan()
        try:
            return scan.look(self.arguments), scan.forms, scan.plain_contents(len(scan.plain))
        except (NotReusable, NotCanonical, RecursionError):
            return None

    def changed(self) -> bool:
        """Whether an array was written, or a list or object holds something else."""
        return any(h._value is not v for h, v in self.arrays) or self._forms() != self.forms


@functools.lru_cache(maxsize=4096)
def _encoded_names(names: tuple[str, ...]) -> bytes:
    return encode(names)


def _error_state() -> bytes:
    """NumPy's error state. Modes that call or print something make a call not reusable."""
    modes = error_modes()
    if not _QUIET.issuperset(modes):
        raise NotReusable(f"np.errstate has effects: {', '.join(sorted(set(modes) - _QUIET))}")
    return _encoded_names(modes)


_QUIET = frozenset({"ignore", "warn", "raise"})
