"""Reads Darshan logs with PyDarshan, in a process of its own: libdarshan-util is C, and a log may be hostile.

Started by `darshan.LogReader` as a script. For each line on its input it forks a child, which reads the file `log` of
its folder and writes the file `answer`; so each log meets a library that has seen no other, within limits that the
kernel enforces, and what happens to the child is told as its wait status. It imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

FILES = 2000
"""Most files of a module whose identity is told: what is needed to count a file of several processes once."""
LARGEST = 20
"""Files that are told by name."""
MOUNTS = 64
SIZES = 16
BINS = 1000
RECORDS = 1_000_000
TEXT = 4096
_READ, _WRITTEN, _SHARED = 1, 2, 4
_LAYERS = {  # counters' prefix, C type; those of a kind that Darshan derives no times of
    "POSIX": ("POSIX", "struct darshan_posix_file **"),
    "STDIO": ("STDIO", "struct darshan_stdio_file **"),
    "MPI-IO": ("MPIIO", "struct darshan_mpiio_file **"),
    "H5F": ("H5F", "struct darshan_hdf5_file **"),
    "H5D": ("H5D", "struct darshan_hdf5_dataset **"),
}
_DERIVED = ("POSIX", "STDIO", "MPI-IO")
_NO_SUMS = ("MAX_", "STRIDE", "ACCESS", "FASTEST_", "SLOWEST_", "MODE", "RENAMED_FROM", "DATA", "CHUNK_", "USE_")
_TIMES = ("F_READ_TIME", "F_WRITE_TIME", "F_META_TIME")


class DamageError(Exception):
    """The log cannot be read, in words."""


def serve(folder: str, cpu: int, memory: int, answer: int) -> None:
    """Answer each line on standard input with a line that holds the wait status of the child that read the log.

    Parameters
    ----------
    folder : str
        Where `log` is, and `answer` and `said` are to be.
    cpu : int
        [s] of processor time for a log; twice as many of the clock.
    memory : int
        [bytes] of address space for a log.
    answer : int
        [bytes] that an answer may have.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        from darshan.backend import cffi_backend
    except Exception as error:  # noqa: BLE001 - whatever keeps another's package from being imported
        os.write(out, json.dumps({"missing": f"{type(error).__name__}: {error}"[:TEXT]}).encode() + b"\n")
        return
    os.write(out, b"{}\n")
    while os.read(0, 1):
        if not (child := os.fork()):
            _confine(folder, cpu, memory, answer)
            _child(folder, cffi_backend)
        _, status = os.waitpid(child, 0)
        os.write(out, b"%d\n" % status)


def _confine(folder: str, cpu: int, memory: int, answer: int) -> None:
    os.dup2(os.open(os.path.join(folder, "said"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (answer, answer))
    signal.alarm(2 * cpu)  # nobody catches it: the kernel ends what hangs without using its processor time


def _child(folder: str, backend: Any) -> None:
    code = 1
    try:
        answer = _read(os.path.join(folder, "log"), backend)
        with open(os.path.join(folder, "answer"), "w", encoding="utf-8") as file:
            json.dump(answer, file, allow_nan=False)
        code = 0
    except DamageError as error:
        print(error, file=sys.stderr)
    except MemoryError:
        print("it asks for more memory than a log may", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - damage may show anywhere in PyDarshan; all that is wanted is a reason
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _read(path: str, backend: Any) -> dict[str, Any]:
    log = _Log(path, backend)
    modules = log.modules()
    names = log.names()
    files = _Files(names)
    found = {name: log.layer(name, told, files) for name, told in modules.items() if name in _LAYERS}
    base = "POSIX" if "POSIX" in found else "MPI-IO"
    return {
        **log.job(),
        "exe": log.exe(),
        "mounts": log.mounts(),
        "modules": {name: layer for name, layer in found.items() if layer},
        "other_modules": sorted(set(modules) - {*_LAYERS, "LUSTRE", "HEATMAP"}),
        "lustre": log.lustre(modules["LUSTRE"]) if "LUSTRE" in modules else None,
        "heatmaps": log.heatmaps(modules["HEATMAP"], names) if "HEATMAP" in modules else {},
        "largest": files.largest(base, "STDIO"),
    }


class _Log:
    """An open log."""

    def __init__(self, path: str, backend: Any) -> None:
        self._ffi, self._lib, self._backend = backend.ffi, backend.libdutil, backend
        self._handle = self._lib.darshan_log_open(path.encode())
        if self._handle == self._ffi.NULL:
            raise DamageError("cannot be opened")
        self._nprocs = 1

    def job(self) -> dict[str, Any]:
        job = self._ffi.new("struct darshan_job *")
        runtime = self._ffi.new("double *")
        if self._lib.darshan_log_get_job(self._handle, job) < 0:
            raise DamageError("its job record cannot be read")
        self._lib.darshan_log_get_job_runtime(self._handle, job[0], runtime)
        version = self._text(self._ffi.cast("char *", self._handle), 8)  # the handle begins with it, as PyDarshan knows
        pairs = [line.split("=", 1) for line in self._text(job.metadata, 1024).splitlines() if "=" in line]
        return {
            "uid": job.uid,
            "jobid": job.jobid,
            "nprocs": job.nprocs,
            "start": job.start_time_sec + job.start_time_nsec / 1e9,
            "end": job.end_time_sec + job.end_time_nsec / 1e9,
            "run_time": _finite(runtime[0]),
            "log_version": version,
            "metadata": dict(pairs),
        }

    def exe(self) -> str:
        text = self._ffi.new("char[]", TEXT + 1)
        if self._lib.darshan_log_get_exe(self._handle, text) < 0:
            raise DamageError("its command cannot be read")
        return self._text(text, TEXT)

    def mounts(self) -> list[list[str]]:
        found, count = self._ffi.new("struct darshan_mnt_info **"), self._ffi.new("int *")
        if self._lib.darshan_log_get_mounts(self._handle, found, count) < 0:
            return []
        listed = [found[0][i] for i in range(min(count[0], MOUNTS))]
        return [[self._text(mount.mnt_path, TEXT), self._text(mount.mnt_type, TEXT)] for mount in listed]

    def modules(self) -> dict[str, Any]:
        found, count = self._ffi.new("struct darshan_mod_info **"), self._ffi.new("int *")
        self._lib.darshan_log_get_modules(self._handle, found, count)
        return {self._text(found[0][i].name, 64): found[0][i] for i in range(count[0])}

    def names(self) -> dict[int, str]:
        found, count = self._ffi.new("struct darshan_name_record **"), self._ffi.new("int *")
        self._lib.darshan_log_get_name_records(self._handle, found, count)
        return {found[0][i].id: self._text(found[0][i].name, TEXT) for i in range(count[0])}

    def layer(self, name: str, told: Any, files: _Files) -> dict[str, Any]:
        """Sums over the records of a module; empty if it has none."""
        layer = _Layer(self._backend, name, self._processes() if name in _DERIVED else 0)
        for pointer in self._records(name, told):
            layer.add(pointer, files)
        return {**layer.told(), "partial": bool(told.partial_flag)} if layer.records else {}

    def lustre(self, told: Any) -> dict[str, Any]:
        names = self._backend.counter_names("LUSTRE_COMP")
        at = {name: names.index(f"LUSTRE_COMP_STRIPE_{name}") for name in ("SIZE", "COUNT")}
        files, sizes, widths, targets = set(), set(), set(), set()
        for pointer in self._records("LUSTRE", told):
            record = self._ffi.cast("struct darshan_lustre_record **", pointer)[0]
            files.add(record.base_rec.id)
            components = [record.comps[i].counters for i in range(min(record.num_comps, 64))]
            sizes |= {counters[at["SIZE"]] for counters in components}
            widths |= {counters[at["COUNT"]] for counters in components}
            used = sum(counters[at["COUNT"]] for counters in components)
            targets |= {int(record.ost_ids[i]) for i in range(max(0, min(used, FILES)))}
        return {
            "files": len(files),
            "stripe_sizes": sorted(sizes)[:SIZES],
            "stripe_counts": sorted(widths)[:SIZES],
            "osts": sorted(targets - {-1})[:FILES],
        }

    def heatmaps(self, told: Any, names: dict[int, str]) -> dict[str, Any]:
        """Bytes over time of each layer, its ranks together."""
        maps: dict[str, Any] = {}
        for pointer in self._records("HEATMAP", told):
            record = self._ffi.cast("struct darshan_heatmap_record **", pointer)[0]
            layer = names.get(record.base_rec.id, "").partition(":")[2]
            width = _finite(record.bin_width_seconds)
            if not layer or not width or not 0 < record.nbins <= BINS:
                continue
            heat = maps.setdefault(layer, {"width": width, "read": [], "written": []})
            if heat["width"] != width:
                raise DamageError("the bins of its heat map differ in width")
            for key, bins in (("read", record.read_bins), ("written", record.write_bins)):
                _add_bins(heat[key], [bins[i] for i in range(record.nbins)])
        return maps

    def _records(self, name: str, told: Any) -> Iterator[Any]:
        """Pointers to the records of a module, each good until the next is asked for."""
        pointer = self._ffi.new("void **")
        for _ in range(RECORDS):
            got = self._lib.darshan_log_get_record(self._handle, told.idx, pointer)
            if got < 0:
                raise DamageError(f"its {name} records cannot be read")
            if got == 0:
                return
            yield pointer
            self._lib.darshan_free(pointer[0])
            pointer[0] = self._ffi.NULL  # or the library takes it for a buffer of the caller's
        raise DamageError(f"it has more than {RECORDS} {name} records")

    def _processes(self) -> int:
        job = self._ffi.new("struct darshan_job *")
        if self._lib.darshan_log_get_job(self._handle, job) < 0 or not 0 < job.nprocs <= 1 << 24:
            raise DamageError(f"it tells of {job.nprocs} processes")
        return int(job.nprocs)

    def _text(self, pointer: Any, limit: int) -> str:
        raw: bytes = self._ffi.string(pointer, limit)
        return raw.decode("utf-8", "backslashreplace")


class _Layer:
    """Sums over the records of one module."""

    def __init__(self, backend: Any, name: str, nprocs: int) -> None:
        self._ffi, self._lib = backend.ffi, backend.libdutil
        self._name, self._nprocs = name, nprocs
        prefix, self._type = _LAYERS[name]
        counters = [counter.removeprefix(f"{prefix}_") for counter in backend.counter_names(name)]
        times = [counter.removeprefix(f"{prefix}_") for counter in backend.fcounter_names(name)]
        self._sums = {i: counter for i, counter in enumerate(counters) if _adds_up(counter)}
        self._times = {i: counter for i, counter in enumerate(times) if counter in _TIMES}
        ranks = [n for n in range(1, 5) if f"ACCESS{n}_ACCESS" in counters]
        self._sizes = [(counters.index(f"ACCESS{n}_ACCESS"), counters.index(f"ACCESS{n}_COUNT")) for n in ranks]
        moved = ("BYTES_READ", "BYTES_WRITTEN")
        self._at = {counter: counters.index(counter) for counter in moved if counter in counters}
        self._total: dict[str, Any] = {}
        self._unknown: set[str] = set()
        self._common: dict[int, int] = {}
        self._files: dict[int, int] = {}
        self._accumulator = None
        if nprocs:
            self._accumulator = self._ffi.new("darshan_accumulator *")
            if self._lib.darshan_accumulator_create(backend.mod_name_to_idx(name), nprocs, self._accumulator) != 0:
                raise DamageError(f"its {name} records cannot be added up")
        self.records = 0

    def add(self, pointer: Any, files: _Files) -> None:
        record = self._ffi.cast(self._type, pointer)[0]
        identity, rank = record.base_rec.id, record.base_rec.rank
        if self._nprocs and not -1 <= rank < self._nprocs:
            raise DamageError(f"a {self._name} record is of rank {rank} of {self._nprocs}")
        counters = self._ffi.unpack(record.counters, len(record.counters))
        times = self._ffi.unpack(record.fcounters, len(record.fcounters))
        self.records += 1
        for i, name in self._sums.items():
            self._plus(name, counters[i], counters[i] < 0)
        for i, name in self._times.items():
            self._plus(name, times[i], not math.isfinite(times[i]) or times[i] < 0)
        for size, count in self._sizes:
            if counters[count] > 0:
                self._common[counters[size]] = self._common.get(counters[size], 0) + counters[count]
        self._note(identity, rank, counters, files)
        if self._accumulator and self._lib.darshan_accumulator_inject(self._accumulator[0], pointer[0], 1) != 0:
            raise DamageError(f"its {self._name} records cannot be added up")

    def told(self) -> dict[str, Any]:
        sums = {name: value for name, value in self._total.items() if name not in self._unknown}
        return {
            "counters": {name: value for name, value in sums.items() if name not in _TIMES},
            "times": {name: value for name, value in sums.items() if name in _TIMES},
            "common_sizes": sorted(self._common.items(), key=lambda item: (-item[1], item[0]))[:SIZES],
            "files": {f"{file:016x}": flags for file, flags in sorted(self._files.items())[:FILES]},
            "files_total": len(self._files),
            **self._derived(),
        }

    def _plus(self, name: str, value: Any, unknown: bool) -> None:
        """Darshan writes -1 for what a version did not count yet."""
        if unknown:
            self._unknown.add(name)
        self._total[name] = self._total.get(name, 0) + value

    def _note(self, identity: int, rank: int, counters: list[int], files: _Files) -> None:
        moved = {name: max(0, counters[at]) for name, at in self._at.items()}
        flags = _READ * (moved.get("BYTES_READ", 0) > 0) | _WRITTEN * (moved.get("BYTES_WRITTEN", 0) > 0)
        seen = _SHARED if rank == -1 or identity in self._files else 0
        self._files[identity] = self._files.get(identity, 0) | flags | seen
        files.add(self._name, identity, moved.get("BYTES_READ", 0), moved.get("BYTES_WRITTEN", 0))

    def _derived(self) -> dict[str, Any]:
        if self._accumulator is None:
            return {}
        metrics = self._ffi.new("struct darshan_derived_metrics *")
        summary = self._ffi.new(self._type.replace("**", "*"))
        if self._lib.darshan_accumulator_emit(self._accumulator[0], metrics, summary) != 0:
            raise DamageError(f"its {self._name} records cannot be added up")
        return {
            "agg_time": _finite(metrics.agg_time_by_slowest),
            "agg_perf": _finite(metrics.agg_perf_by_slowest),
            "unique_time": _finite(metrics.unique_io_total_time_by_slowest),
            "shared_time": _finite(metrics.shared_io_total_time_by_slowest),
            "slowest_rank": metrics.unique_io_slowest_rank,
        }


class _Files:
    """Bytes of each file, by layer."""

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self._moved: dict[tuple[str, int], list[int]] = {}

    def add(self, layer: str, identity: int, read: int, written: int) -> None:
        if layer in ("POSIX", "STDIO", "MPI-IO"):
            moved = self._moved.setdefault((layer, identity), [0, 0])
            moved[0] += read
            moved[1] += written

    def largest(self, *layers: str) -> list[dict[str, Any]]:
        together: dict[int, list[int]] = {}
        for (layer, identity), moved in self._moved.items():
            if layer in layers and any(moved):
                sums = together.setdefault(identity, [0, 0])
                sums[0] += moved[0]
                sums[1] += moved[1]
        order = sorted(together, key=lambda identity: (-sum(together[identity]), identity))[:LARGEST]
        return [
            {
                "id": f"{identity:016x}",
                "name": self._names.get(identity, ""),
                "bytes_read": together[identity][0],
                "bytes_written": together[identity][1],
            }
            for identity in order
        ]


def _adds_up(counter: str) -> bool:
    return not counter.startswith(_NO_SUMS) and not counter.endswith("ALIGNMENT")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _add_bins(total: list[int], bins: list[int]) -> None:
    total += [0] * (len(bins) - len(total))
    for i, value in enumerate(bins):
        total[i] += max(0, value)


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
