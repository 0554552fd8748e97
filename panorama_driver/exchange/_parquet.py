"""Parquet files in parts of bounded size, and what comes out of those that somebody else may have made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..errors import EnvironmentMissingError, FormatError
from .records import Column

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile, ParquetWriter

_GROUP_ROWS, _GROUP_BYTES = 1 << 16, 32 << 20
"""A row group is written when it has so many rows, or texts of so many bytes."""
_PART_ROWS = 1 << 20
_MOST_ROWS, _MOST_BYTES = 1 << 20, 1 << 30
"""Of a row group that is read; nothing that was written here comes near."""
_LONGEST = 64 << 20
"""Of one text that is read [bytes]."""
_BATCH = 1 << 12
_LEVEL = 9  # of zstd: half of the time of the next one that is smaller
_UNLIKE = ("event_id", "letter_id")
"""Columns in which no two values are alike: a dictionary would be as large as they are."""


def needs() -> None:
    """See that pyarrow is installed.

    Raises
    ------
    EnvironmentMissingError
        It is not.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise EnvironmentMissingError(
            "repositories are Parquet files, which pyarrow reads and writes; install it with: "
            "pip install 'panorama-driver[parquet]', in a clone '.[parquet]'"
        ) from None


def schema(columns: Sequence[Column]) -> pa.Schema:
    """Columns as Arrow has them, with their units as metadata; what they mean stands in the manifest, once."""
    import pyarrow as pa

    types = {"TEXT": pa.string(), "REAL": pa.float64(), "INTEGER": pa.int64(), "BLOB": pa.binary()}
    return pa.schema(
        pa.field(each.name, types[each.type], metadata={"unit": each.unit} if each.unit else None) for each in columns
    )


class Parts:
    """Writes rows into `part-00000.parquet` and those that follow, each made when there are rows for it.

    Parameters
    ----------
    folder : Path
        Made where it is missing, with the first part.
    layout : pyarrow.Schema
        Of the rows.
    always : bool
        Make a part also where there is no row at all, so that whoever asks for the table finds it.
    """

    def __init__(self, folder: Path, layout: pa.Schema, *, always: bool = False) -> None:
        self._folder, self._layout, self._always = folder, layout, always
        self._rows: list[Sequence[Any]] = []
        self._bytes = self._written = self._parts = 0
        self._file: ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            if self._always and not self._parts:
                self._open()
        self._end()

    def add(self, row: Sequence[Any], size: int) -> None:
        """Add a row; its texts have about `size` bytes."""
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(values, each.type) for values, each in zip(columns, self._layout, strict=True)]
        self._open().write_table(pa.Table.from_arrays(arrays, schema=self._layout))
        self._written += len(self._rows)
        self._rows, self._bytes = [], 0
        if self._written >= _PART_ROWS:
            self._end()

    def _open(self) -> ParquetWriter:
        from pyarrow.parquet import ParquetWriter

        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"part-{self._parts:05d}.parquet"
            alike = [name for name in self._layout.names if name not in _UNLIKE]
            self._file = ParquetWriter(
                path, self._layout, compression="zstd", compression_level=_LEVEL, use_dictionary=alike
            )
            self._parts, self._written = self._parts + 1, 0
        return self._file

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def rows(path: Path, layout: pa.Schema) -> Iterator[dict[str, Any]]:
    """Rows of a file, some at a time in memory.

    Raises
    ------
    FormatError
        It is no Parquet file, has other columns, or would not fit into memory.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    # A text that many rows have stands in a file once: taken as it stands there, it cannot fill the memory.
    texts = [each.name for each in layout if pa.types.is_string(each.type) or pa.types.is_binary(each.type)]
    try:
        with ParquetFile(path, memory_map=True, read_dictionary=texts) as file:
            _check(path, file, layout)
            for batch in file.iter_batches(_BATCH, columns=layout.names, use_threads=False):
                for piece in _pieces(path, batch, texts):
                    yield from piece.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as problem:
        raise FormatError(f"{path}: cannot be read as Parquet: {problem}; get the repository anew") from None


def _pieces(path: Path, batch: pa.RecordBatch, texts: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows together as long as their texts are short, and else one at a time."""
    import pyarrow.compute as pc

    together = 0
    for name in texts:
        lengths = pc.binary_length(batch.column(name).dictionary)
        longest = pc.max(lengths).as_py() or 0
        if longest > _LONGEST:
            raise FormatError(f"{path}: {name} of {longest} bytes; nothing that was exported has such")
        together += pc.sum(lengths.take(batch.column(name).indices)).as_py() or 0
    step = len(batch) if together <= _GROUP_BYTES else 1
    return (batch.slice(at, step) for at in range(0, len(batch), step))


def _check(path: Path, file: ParquetFile, layout: pa.Schema) -> None:
    import pyarrow as pa

    types: Iterator[tuple[str, Any]] = ((each.name, each.type) for each in file.schema_arrow)
    found = {name: type_.value_type if pa.types.is_dictionary(type_) else type_ for name, type_ in types}
    for each in layout:
        if found.get(each.name) != each.type:
            told = f"is {found[each.name]}" if each.name in found else "is missing"
            raise FormatError(f"{path}: column {each.name} {told}, where {each.type} is wanted; this is another table")
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        if not 0 <= group.num_rows <= _MOST_ROWS or not 0 <= group.total_byte_size <= _MOST_BYTES:
            raise FormatError(
                f"{path}: row group {number} claims {group.num_rows} rows and {group.total_byte_size} bytes; "
                "no repository has such groups, and they would not fit into memory"
            )
