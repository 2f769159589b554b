"""Lineage as tables of SQLite, for questions in SQL.

The tables are made for one connection, in a file of SQLite's own that it keeps in memory as long as
it is small. Nodes are written as they come: a log with patches is run and not unfolded, a store is
read row by row. Then the connection is closed for everything but reading.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from lima.ancestry import place_of
from lima.errors import LogError, QueryError
from lima.labels import is_seed, label, short
from lima.node import LEAF, Node, Spec
from lima.objects import Broken, read_form
from lima.op import Meta
from lima.queries import metas
from lima.reading import Lines
from lima.record import Lineage
from lima.store import Store
from lima.unfolding import Folded, Machine
from lima.upkeep import CALL

if TYPE_CHECKING:
    from sqlite3 import Connection

SCHEMA = {
    "nodes": "id INTEGER PRIMARY KEY, op TEXT, name TEXT, call TEXT, dtype TEXT, shape TEXT, "
    "height INTEGER, outcome TEXT, seconds REAL, file TEXT, line INTEGER, function TEXT, "
    "digest TEXT UNIQUE",
    "edges": "id INTEGER, place INTEGER, input INTEGER",
    "names": "name TEXT, id INTEGER, kind TEXT",
    "parameters": "id INTEGER, name TEXT, value",
    "literals": "id INTEGER, place INTEGER, value",
    "seeds": "id INTEGER, name TEXT, value",
    "environment": "name TEXT, value TEXT",
    "stored": "id INTEGER, dtype TEXT, shape TEXT, nbytes INTEGER, seconds REAL, hits INTEGER, "
    "created TEXT, used TEXT, program TEXT",
}
"""The tables, with their columns; `docs/asking.md` says what they mean."""

INDEXES = (
    "CREATE INDEX edges_of ON edges (id)",
    "CREATE INDEX edges_to ON edges (input)",
    "CREATE INDEX nodes_op ON nodes (op)",
)

SHOWN = 40
"""Rows that are printed."""

WIDEST = 60
"""Characters of a printed value."""

AT_ONCE = 1000
"""Nodes whose rows are handed to SQLite together."""

REMEMBERED = 200_000
"""Nodes whose numbers are remembered; SQLite is asked for those of earlier ones."""

STEPS = 100_000
"""Steps of SQLite's machine after which Python looks whether it was interrupted."""


class Rows(Sequence[tuple[Any, ...]]):
    """What a question in SQL gives: a sequence of tuples; `print` shows it as a table.

    columns  names of the columns
    """

    def __init__(self, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        self.columns = tuple(columns)
        self._rows = rows

    @overload
    def __getitem__(self, k: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, k: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, k: int | slice) -> Any:
        return self._rows[k]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return list(other) == self._rows if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def table(self) -> dict[str, list[Any]]:
        """The columns by name, which pandas, Polars and DuckDB take as they are."""
        return {name: [row[k] for row in self._rows] for k, name in enumerate(self.columns)}

    def __str__(self) -> str:
        shown = [self.columns, *[tuple(map(_text, row)) for row in self._rows[:SHOWN]]]
        widths = [max(len(row[k]) for row in shown) for k in range(len(self.columns))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
        lines.insert(1, "  ".join("-" * width for width in widths))
        rest = len(self) - SHOWN
        return "\n".join([*lines, *([f"... {rest:,} more rows"] if rest > 0 else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_text(value))}</td>' for value in row)}</tr>"
            for row in self._rows[:SHOWN]
        )
        rest = len(self) - SHOWN
        more = f"<p>... {rest:,} more rows</p>" if rest > 0 else ""
        return f"<table><tr>{head}</tr>{body}</table>{more}"


def _text(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if type(value) is float else str(value)
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


# --------------------------------------------------------------------------- tables


def _sqlite() -> Any:
    """The module, which takes longer to load than the rest of lima's own modules together."""
    return import_module("sqlite3")


class Tables:
    """The tables of one lineage or store, to be asked any number of times."""

    def __init__(self, source: Lineage | Store) -> None:
        sqlite3 = _sqlite()
        self.error: type[Exception] = sqlite3.Error
        self.wrong: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning)
        self.count = 0
        self.rows: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)  # to be written
        self.numbers: dict[bytes, int] = {}  # of the latest nodes
        self.connection: Connection = sqlite3.connect("", isolation_level=None)
        run = self.connection.execute
        run("PRAGMA journal_mode=OFF")
        run("PRAGMA trusted_schema=OFF")
        run("BEGIN")
        for name, columns in SCHEMA.items():
            run(f"CREATE TABLE {name} ({columns})")
        if isinstance(source, Store):
            self._store(source)
        else:
            self._lineage(source)
        self.write()
        self.rows.clear()
        self.numbers.clear()
        for index in INDEXES:
            run(index)
        run("COMMIT")
        run("PRAGMA query_only=ON")
        allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
        called = sqlite3.SQLITE_FUNCTION

        def may(action: int, _: Any, name: Any, *__: Any) -> int:
            harmless = action in allowed or (action == called and name != "load_extension")
            return int(sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY)

        self.connection.set_authorizer(may)
        self.connection.set_progress_handler(lambda: 0, STEPS)  # here Python may be interrupted

    def ask(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Rows:
        """The rows that a SELECT gives. Raises QueryError for anything that SQLite refuses."""
        try:
            cursor = self.connection.execute(query, values)
            found = cursor.fetchall()
        except self.wrong as error:
            raise QueryError(_told(error)) from error
        if cursor.description is None:
            raise QueryError(f"expected a question such as SELECT op FROM nodes, got {query!r}")
        return Rows([item[0] for item in cursor.description], found)

    # ------------------------------------------------------------ filling

    def add(self, node: Node, meta: Meta | None = None, height: int | None = None) -> int:
        """Write a node whose inputs were written before; its number, also if it was there."""
        known = self.number(node.digest)
        if known is not None:
            return known
        self.count = number = self.count + 1
        if len(self.numbers) >= REMEMBERED:
            self.write()
            self.numbers.clear()
        inputs = [(k, i) for k, i in enumerate(node.inputs) if isinstance(i, Node)]
        places = {item.digest: self.number(item.digest) or 0 for _, item in inputs}
        self.numbers[node.digest] = number
        spec, outcome, rows = node.spec, node.outcome, self.rows
        rows["nodes"].append(
            (
                number,
                spec.op,
                node.name,
                label(node, places, width=200),
                None if meta is None else meta[1].str,
                None if meta is None else str(list(meta[0])),
                node.height if height is None else height,
                None if outcome is None else outcome.outcome.value,
                None if outcome is None else float(outcome.seconds),
                *(node.line or (None, None, None)),
                node.digest.hex(),
            )
        )
        rows["edges"] += [(number, k, places[item.digest]) for k, item in inputs]
        if spec.op == LEAF:
            rows["names"] += [(node.name, number, "leaf")] if node.name else []
            return number
        if len(inputs) < len(node.inputs):
            values = enumerate(node.inputs)
            rows["literals"] += [(number, k, _value(i)) for k, i in values if type(i) is not Node]
        if spec.params:
            found = [(number, name, _value(v)) for name, v in spec.params if name != "alias"]
            rows["parameters"] += found
            rows["seeds"] += found if is_seed(node) else []
        if len(rows["nodes"]) >= AT_ONCE:
            self.write()
        return number

    def write(self) -> None:
        """Hand the rows that were made to SQLite."""
        for table, rows in self.rows.items():
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
                rows.clear()

    def number(self, digest: bytes) -> int | None:
        """The number of a node that was written."""
        found = self.numbers.get(digest)
        if found is None and self.count > len(self.numbers):  # of one that was forgotten, perhaps
            query = "SELECT id FROM nodes WHERE digest=?"
            row = self.connection.execute(query, (digest.hex(),)).fetchone()
            found = None if row is None else int(row[0])
        return found

    def _facts(self, facts: Mapping[str, Any]) -> None:
        rows = [(str(name), str(value)) for name, value in facts.items()]
        self.connection.executemany("INSERT INTO environment VALUES (?,?)", rows)

    def _lineage(self, record: Lineage) -> None:
        folded = record.folded
        if folded is not None:
            folded.run(_Writing(folded, self))
            digests = folded.digests
        else:
            digests = {name: node.digest for name, node in record.outputs.items()}
            sure = {digests[name]: check for name, check in record.checks.items()}
            known = metas(record.nodes, sure)
            for node in record.nodes:
                self.add(node, known.get(node.digest))
        self.write()
        for name, digest in digests.items():
            row = (name, self.number(digest))
            self.connection.execute("INSERT INTO names VALUES (?,?,'result')", row)
            check = record.checks.get(name)
            if check is not None:
                self.connection.execute(
                    "UPDATE nodes SET dtype=?, shape=? WHERE id=?",
                    (check.dtype, str(list(check.shape)), row[1]),
                )
        self._facts(record.environment)

    # ------------------------------------------------------------ stores

    def _store(self, store: Store) -> None:
        columns, table = "digest, inputs, text, height, op, name", "nodes"
        if store.catalog.has_lines():
            columns += ", file, line, function"
            table += " LEFT JOIN lines USING (digest)"
        stream = store.catalog.stream(f"SELECT {columns} FROM {table} ORDER BY height, digest")
        try:
            for row in stream:
                node, height = _stored_node(*row[:6])
                node.place = place_of(*row[6:]) if row[6:] else 0
                self.add(node, _leaf_meta(node), height)
            rows = store.catalog.stream(
                "SELECT e.key, p.form, e.nbytes, e.seconds, e.hits, "
                "strftime('%Y-%m-%d %H:%M:%S', e.created, 'unixepoch'), "
                "strftime('%Y-%m-%d %H:%M:%S', e.used, 'unixepoch'), r.program "
                "FROM entries e LEFT JOIN parts p ON p.key=e.key AND p.env=e.env AND p.place=0 "
                "LEFT JOIN runs r ON r.id=e.run ORDER BY e.seconds DESC"
            )
            self.write()
            for key, form, *rest in rows:
                known = read_form(form)
                described = (known.dtype, str(list(known.shape)))
                values = (self.number(bytes(key)), *described, *rest)
                self.connection.execute("INSERT INTO stored VALUES (?,?,?,?,?,?,?,?,?)", values)
        except (LogError, Broken, TypeError, ValueError, self.error) as error:
            raise QueryError(f"{store.path}: its index is damaged: {error}") from error
        self._facts(json.loads(store.facts))


class _Writing(Machine):
    """Writes the nodes of a log with patches as its lines run; of each only its digest is kept."""

    def __init__(self, folded: Folded, tables: Tables) -> None:
        super().__init__(folded.needs)
        self.tables = tables

    def made(self, number: int, node: Node, items: list[Any]) -> Node:
        self.tables.add(node, _leaf_meta(node))
        node.inputs = ()  # they would keep all rounds
        return node


def _leaf_meta(node: Node) -> Meta | None:
    return metas([node], None).get(node.digest) if node.is_leaf else None


def _stored_node(
    digest: bytes, inputs: bytes, text: str, height: int, op: str, name: str | None
) -> tuple[Node, int]:
    """A node of a store; its inputs are known by their digests alone.

    That of a whole call names the function. Its inputs are the arrays that the call gave.
    """
    if type(inputs) is not bytes or type(text) is not str or len(inputs) % 16:
        raise LogError("a row of its lineage")
    names = [inputs[k : k + 16] for k in range(0, len(inputs), 16)]
    below = [_known_by(one) for one in names]
    if op == CALL:
        node = Node(Spec(CALL, (("function", str(name)),)), tuple(below))
        node._digest = digest
        return node, int(height)
    node = Lines(below).one(text)
    if node.digest != digest:
        raise LogError("a node has another digest")
    return node, int(height)


def _known_by(digest: bytes) -> Node:
    """A node of which nothing is known but its digest."""
    node = Node(Spec("stored"), ())
    node._digest = digest
    return node


def _value(value: Any) -> Any:
    """A value as SQLite has it: numbers and short text as they are, else as lima spells it."""
    kind = type(value)
    if kind is bool or (kind is int and abs(value) < 1 << 63) or kind is float or value is None:
        return value
    return value if kind is str and len(value) < WIDEST else short(value, 200)


def _told(error: Exception) -> str:
    """SQLite's message, and what there is to ask."""
    text = str(error)
    if "not authorized" in text or "prohibited" in text:
        return f"{text}: lineage can only be read, by one SELECT"
    if "no such table" in text:
        return f"{text}; the tables are {', '.join(SCHEMA)}"
    if "no such column" in text:
        columns = "; ".join(f"{name}({', '.join(_columns(name))})" for name in SCHEMA)
        return f"{text}; there are {columns}"
    return text


def _columns(table: str) -> Iterator[str]:
    return (column.split()[0] for column in SCHEMA[table].split(", "))
