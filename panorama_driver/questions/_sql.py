"""SQL that anybody may have written, answered: it can only look, for a limited time, and at what is documented."""

from __future__ import annotations

import difflib
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from ..errors import UsageError
from ._aggregates import MOST, register
from ._rows import Row

ROWS = 100_000
"""Rows that an answer has at most, unless told."""
TIMEOUT = 60.0
"""Longest time of an answer, unless told [s]."""

_MEMORY = 1 << 30  # bytes of SQLite's own
_LONGEST = 4 << 20  # bytes of a value or a row
_LONGEST_SQL = 1 << 20  # characters
_OPERATIONS = 10_000  # of SQLite's machine between two looks at the clock
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: _LONGEST,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: _LONGEST_SQL,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_HARMLESS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})
_TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})
_WORD = re.compile(r"""'(?:[^']|'')*'|--[^\n]*|/\*.*?(?:\*/|\Z)|"(?:[^"]|"")*"|[^\W\d]\w*|\d[\w.]*|\S""", re.DOTALL)


class Table(NamedTuple):
    """An answer: names of its columns, its rows, and whether there are more that were left out."""

    columns: list[str]
    rows: list[Row]
    more: bool = False


class Guarded:
    """A connection that user's SQL may be given to.

    Parameters
    ----------
    connection : sqlite3.Connection
        With the tables and views; from here on it only reads.
    known : mapping of str to sequence of str
        The views that may be asked, with their columns.
    """

    def __init__(self, connection: sqlite3.Connection, known: Mapping[str, Sequence[str]]) -> None:
        self._connection, self._known = connection, known
        self._names = frozenset(known) | _TABLE_FUNCTIONS
        register(connection)
        for function in _TABLE_FUNCTIONS:
            connection.execute(f"SELECT 1 FROM {function}('[]')")  # it is declared on its first use
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA hard_heap_limit = {_MEMORY}")
        for limit, most in _LIMITS.items():
            connection.setlimit(limit, most)
        connection.execute("BEGIN")  # all answers are of one moment

    def answer(self, sql: str, *, rows: int = ROWS, timeout: float = TIMEOUT) -> Table:
        """Ask.

        Parameters
        ----------
        sql : str
            One SELECT, or WITH ... SELECT.
        rows : int
            No more rows than these.
        timeout : float
            Longest time [s].

        Raises
        ------
        UsageError
            It is no such statement, names what is not there, takes too long or too much; the message says where.
        """
        with self._explained(sql, timeout), self._guarded(timeout):
            cursor = self._connection.execute(sql)
            if cursor.description is None:
                raise UsageError('there is no SELECT in it; write one, such as "SELECT count(*) FROM attempts"')
            found: list[Row] = cursor.fetchmany(rows + 1)
            cursor.close()
        return Table([name for name, *_ in cursor.description or ()], found[:rows], len(found) > rows)

    @contextmanager
    def _guarded(self, timeout: float) -> Iterator[None]:
        deadline = time.monotonic() + timeout
        self._connection.set_authorizer(self._allowed)
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, _OPERATIONS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)
            self._connection.set_authorizer(None)

    def _allowed(self, action: int, first: str | None, second: str | None, where: str | None, via: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() not in _FORBIDDEN_FUNCTIONS
        elif action == sqlite3.SQLITE_READ:
            # A view's table is read under its own name, without a column, where only its rows are counted.
            allowed = not second or via in self._known or (first or "").lower() in self._names
        else:
            allowed = action in _HARMLESS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    @contextmanager
    def _explained(self, sql: str, timeout: float) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as problem:
            raise UsageError(self._words(sql, problem, timeout)) from None

    def _words(self, sql: str, problem: Exception, timeout: float) -> str:
        code, told = getattr(problem, "sqlite_errorcode", None), str(problem)
        if code == sqlite3.SQLITE_INTERRUPT:
            return f"no answer within {timeout:g} s; ask for less, or allow more with --timeout"
        if code == sqlite3.SQLITE_NOMEM or isinstance(problem, MemoryError):
            return f"it takes more than {_MEMORY >> 20} MiB of memory; ask for less, or for a part at a time"
        if code == sqlite3.SQLITE_AUTH or told.startswith(("not authorized", "access to")):
            return f"{told}: a question can only look, by SELECT, at {', '.join(self._known)}"
        if told.startswith("user-defined"):
            return f"{told}: no more than {MOST} values at a time; ask for less"
        if "one statement" in told:
            return "one SELECT at a time; there is another statement after the first"
        return f"{told}{self._hint(told)}{_where(self._connection, sql, told)}"

    def _hint(self, told: str) -> str:
        """The nearest name that there is."""
        missing = re.match(r"no such (column|table|function): (.*)", told)
        if missing is None:
            return ""
        kind, name = missing[1], missing[2].rpartition(".")[2]
        if kind == "function":
            return "; those of SQLite, and median, quantile, stddev, corr, spearman"
        every = self._known if kind == "table" else dict.fromkeys(each for c in self._known.values() for each in c)
        near = difflib.get_close_matches(name, every, 3, 0.6)
        where = "`panorama ask --schema` lists what there is"
        return f"; do you mean {' or '.join(near)}? {where}" if near else f"; {where}"


def _where(connection: sqlite3.Connection, sql: str, told: str) -> str:
    """The line that the message is of, with a mark below the word; empty where it cannot be told."""
    at = _place(connection, sql, told)
    if at is None:
        return ""
    start = sql.rfind("\n", 0, at) + 1
    line, column = sql[start:].partition("\n")[0], at - start
    head = f" (line {sql.count(chr(10), 0, at) + 1}, column {column + 1})"
    shown = "".join(each if each.isprintable() else " " for each in line)
    first = max(0, column - 60)
    return f"{head}\n  {shown[first : column + 60]}\n  {' ' * (column - first)}^"


def _place(connection: sqlite3.Connection, sql: str, told: str) -> int | None:
    """Where the word is that SQLite names; where it stands several times, the one that ends what can be understood."""
    near = re.match(r'near "(.*?)": syntax error', told, re.DOTALL)
    missing = re.match(r"(?:no such (?:column|table|function)|ambiguous column name): (.*)", told)
    name = near[1] if near else missing[1].rpartition(".")[2] if missing else None
    if name is None:
        return None
    words = [each for each in _WORD.finditer(sql) if _plain(each[0]) == name.lower()]
    if near:
        words = [each for each in words if _fails(connection, sql[: each.end()], told)] or words
    return words[0].start() if words else None


def _plain(word: str) -> str:
    return (word[1:-1].replace('""', '"') if word.startswith('"') and len(word) > 1 else word).lower()


def _fails(connection: sqlite3.Connection, beginning: str, told: str) -> bool:
    """Whether the statement is already wrong so far, in the same way."""
    try:
        connection.execute(f"EXPLAIN {beginning}")
    except sqlite3.Error as problem:
        return str(problem) == told
    return False
