#!/usr/bin/env python3
"""Runs one job and writes what its whole process tree used, as `kickstart.inv.online` records, one JSON object a line.

usage: panorama_probe.py [--interval S] [--trace FILE] [--kill-after S] [--die-with-parent[=PID]] [--end-leftovers]
                         [--] COMMAND [ARGUMENT...]

  --interval S             time between two records [s]; 0: the first and the last only  (1)
  --trace FILE             append the records to FILE  (KICKSTART_MON_URL=file://...; none: nothing is recorded)
  --kill-after S           KILL what still lives S seconds after a TERM  (left to the sender; 5 when the parent died)
  --die-with-parent[=PID]  end the job when the process that started the probe is gone, even by KILL
  --end-leftovers          end what still lives when the command itself has ended

Every option may come from the environment: PANORAMA_PROBE_INTERVAL, PANORAMA_PROBE_END_LEFTOVERS=1, ...

It stands between kickstart, or our own engine, and the job: standard library only, one file, Python 3.6 or later, best
started as `python3 -IS`. The job keeps its stdin, stdout, stderr, environment, signals and exit status. What cannot be
observed is said in `problems` of the last record, or on stderr when there is no record to say it in.

Why the sum over a tree loses nothing: when a process reaps a child, the kernel adds the child's CPU time and I/O to the
parent's `cutime`, `cstime` and `/proc/PID/io` (wait_task_zombie in kernel/exit.c). So the living processes, each with
what it has reaped, and what this probe has reaped count every process once, however short it lived. Orphans become our
children (PR_SET_CHILD_SUBREAPER). Parents are read before their children: a child that is reaped during the walk is
missed until the next sample, never counted twice. Only the children of a parent that ignores SIGCHLD are forgotten by
the kernel: they count up to when they were last seen. With SA_NOCLDWAIT not even that, since nothing shows it.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated:
    del sys.path[0]  # the job's folder: an input file named time.py must not become our `time`

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    try:
        import _signal as signal  # `signal` makes enums of all constants: a third of the interpreter's start
    except ImportError:
        import signal
try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

PARENT = os.getppid()  # as early as can be, for --die-with-parent
INHERITED_SIGCHLD = signal.getsignal(signal.SIGCHLD)
INHERITED_MASK = signal.pthread_sigmask(signal.SIG_BLOCK, [])

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PARENT_DIED = signal.SIGRTMAX  # a number nobody else sends: a TERM from the engine must look different
SI_KERNEL = 0x80  # si_code of what a terminal sends

# What ends, stops or continues a job goes to its whole process group, as a terminal or a batch system does it. USR1 and
# USR2 ask something of the task alone: they would end those of its children that do not expect them.
TO_GROUP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
JOB_CONTROL = (signal.SIGTSTP, signal.SIGCONT)
TO_TASK = (signal.SIGUSR1, signal.SIGUSR2)

KILL_AFTER = 5.0  # [s]
KILL_STRAYS_AFTER = 1.0  # [s] after a forwarded TERM ended the task: its sender is waiting for us
KILL_AGAIN = 0.05  # [s] between two rounds of KILL, since a fork may slip through one
EARLY = (0.004, 0.016, 0.064, 0.256)  # [s] a short job, too, has its memory seen: at the start itself there is none yet
MAXRSS_SLACK = 4096  # [kB] that the fork may still grow by until its exec, and the kernel's own inaccuracy
GIVE_UP_AFTER = 10.0  # [s] of KILL: what still lives then hangs in the kernel or is not ours to kill

IO = ("rchar", "wchar", "syscr", "syscw", "bread", "bwrite")  # the order of /proc/PID/io
NO_IO = (0,) * len(IO)
RANKS = ("PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")

TICKS = float(os.sysconf("SC_CLK_TCK"))  # [1/s]
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024  # [kB]


# The command line.


class Options:
    """What the command line says and, where it is silent, the environment.

    A bad value is a problem to be told and no reason not to run the job.
    """

    def __init__(self) -> None:
        self.command: list[str] = []
        self.interval = 1.0
        self.trace = ""
        self.kill_after: float | None = None
        self.die_with_parent = False
        self.parent = PARENT
        self.end_leftovers = False
        self.problems: list[str] = []

    def supervises(self) -> bool:
        """Whether there is more to do than to become the command."""
        return bool(self.trace or self.die_with_parent or self.end_leftovers or self.kill_after is not None)

    def note(self, problem: str) -> None:
        """Keep a problem for the last record, each once."""
        if problem not in self.problems and len(self.problems) < 20:
            self.problems.append(problem)

    def set_value(self, name: str, text: str, where: str) -> None:
        """Take --interval, --trace or --kill-after."""
        if name == "trace":
            self.trace = text
            return
        try:
            setattr(self, name.replace("-", "_"), _seconds(text))
        except ValueError:
            self.note(f"{where}: {text!r} is not a time in seconds, ignored")

    def set_flag(self, name: str) -> None:
        """Take --die-with-parent, with its process id or without, or --end-leftovers."""
        name, _, parent = name.partition("=")
        setattr(self, name.replace("-", "_"), True)
        if parent.isdigit():
            self.parent = int(parent)


VALUES = ("interval", "trace", "kill-after")
FLAGS = ("die-with-parent", "end-leftovers")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError(text)
    return value


def parse(arguments: "list[str]", environment: "dict[str, str]") -> Options:
    """Read the command line and the environment.

    Raises
    ------
    ValueError
        There is no command, an option is unknown, or one lacks its value.
    """
    options = Options()
    _read_environment(options, environment)
    rest = list(arguments)
    while rest and rest[0].startswith("--"):
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word[2:].partition("=")
        if name in FLAGS:
            options.set_flag(word[2:])
        elif name in VALUES and (equals or rest):
            options.set_value(name, value if equals else rest.pop(0), word)
        else:
            raise ValueError(f"{word}: no such option, or its value is missing")
    if not rest:
        raise ValueError("no command to run")
    options.command = rest
    return options


def _read_environment(options: Options, environment: "dict[str, str]") -> None:
    scheme, _, path = environment.get("KICKSTART_MON_URL", "").partition("://")
    if scheme == "file":
        options.trace = path
    elif scheme:
        options.note(f"KICKSTART_MON_URL: {scheme}:// is not written, only file:// is")
    if environment.get("KICKSTART_MON_INTERVAL"):
        options.set_value("interval", environment["KICKSTART_MON_INTERVAL"], "KICKSTART_MON_INTERVAL")
    for name in VALUES + FLAGS:
        variable = "PANORAMA_PROBE_" + name.upper().replace("-", "_")
        text = environment.get(variable, "")
        if name in VALUES and text:
            options.set_value(name, text, variable)
        elif text.lower() not in ("", "0", "no", "false", "off"):
            options.set_flag(name)


# What the kernel knows.


def prctl(option: int, value: int) -> bool:
    """Call prctl(2); False where the kernel refuses or this Python has no ctypes.

    `_ctypes` is the compiled half of `ctypes`: all that one call needs, without the import of the other half.
    """
    try:
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        return bool(_ctypes.call_function(address, (option, value, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, TypeError, OSError):
        return False


def read(path: str) -> bytes:
    """Read a file of /proc, in a single call as long as it is short.

    Raises
    ------
    OSError
        It cannot be opened or read; ProcessLookupError when its process has gone meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        text = os.read(descriptor, 4096)
        while text and len(text) % 4096 == 0:
            more = os.read(descriptor, 4096)
            if not more:
                break
            text += more
        return text
    finally:
        os.close(descriptor)


def _stat(path: str) -> "list[bytes]":
    """Split a stat file behind the program's name, which may hold anything: proc(5)'s field 3 comes first."""
    text = read(path)
    return text[text.rindex(b")") + 2 :].split()


def _io(text: bytes) -> "tuple[int, ...]":
    return tuple([int(line.split()[1]) for line in text.splitlines()[: len(IO)]])


class Process:
    """One process as it stands in /proc: `used` is [s, s, and `IO`], with what it has reaped."""

    def __init__(self, pid: int, stat: "list[bytes]", io: "tuple[int, ...]") -> None:
        self.pid = pid
        self.key = (pid, stat[19])  # with its start time, since a pid comes again
        self.group = int(stat[2])
        self.used = ((int(stat[11]) + int(stat[13])) / TICKS, (int(stat[12]) + int(stat[14])) / TICKS, *io)
        self.threads = int(stat[17])
        self.alive = stat[0] not in (b"Z", b"X") or self.threads > 1
        self.vm = int(stat[20]) // 1024
        self.rss = int(stat[21]) * PAGE_KB
        self.ignores_children = bool(int(stat[30]) >> (signal.SIGCHLD - 1) & 1)
        self.iowait = int(stat[39])  # [ticks]
        self.unreaped = False


class Tree:
    """Finds all descendants of this probe."""

    def __init__(self, options: Options) -> None:
        self.note = options.note
        self.me = os.getpid()
        self.sees_processes = self._can("processes", self._own_proc)
        self.sees_io = self.sees_processes and self._can("I/O", self.own_io)
        self.sees_iowait = self.sees_processes and _delay_accounting()
        self._has_children_files = os.path.exists(f"/proc/self/task/{self.me}/children")

    def _can(self, what: str, look: "Callable[[], object]") -> bool:
        try:
            look()
        except (OSError, ValueError) as error:
            self.note(f"{what} cannot be observed: {error}")
            return False
        return True

    def _own_proc(self) -> None:
        if int(os.readlink("/proc/self")) != self.me:
            raise ValueError("/proc is of another pid namespace")

    def own_io(self) -> "tuple[tuple[int, ...], int]":
        """Read our own counters, and how many bytes reading them took."""
        text = read("/proc/self/io")
        return _io(text), len(text)

    def walk(self) -> "dict[tuple[int, bytes], Process]":
        """Read every descendant, zombies too, parents before their children."""
        found: dict[tuple[int, bytes], Process] = {}
        if not self.sees_processes:
            return found
        children = _children if self._has_children_files else _children_by_parent()
        ahead = [(pid, False) for pid in children(self.me, 1)]
        while ahead:
            pid, unreaped = ahead.pop()
            process = self.process(pid)
            if process and process.key not in found:
                process.unreaped = unreaped
                found[process.key] = process
                ahead += [(child, process.ignores_children) for child in children(pid, process.threads)]
        return found

    def process(self, pid: int) -> "Process | None":
        """Read one process; None when it is gone."""
        path = f"/proc/{pid}/"
        try:
            process = Process(pid, _stat(path + "stat"), self._io_of(path))
            if self.sees_iowait and process.threads > 1:
                threads = os.listdir(path + "task")
                process.iowait = sum([int(_stat(f"{path}task/{thread}/stat")[39]) for thread in threads])
            return process
        except (FileNotFoundError, ProcessLookupError):
            return None

    def _io_of(self, path: str) -> "tuple[int, ...]":
        if self.sees_io:
            try:
                return _io(read(path + "io"))
            except PermissionError:
                self.note("I/O of a process with another user or more rights counts only from its end on")
        return NO_IO


def _delay_accounting() -> bool:
    try:
        return read("/proc/sys/kernel/task_delayacct").strip() == b"1"
    except OSError:
        return False


def _children(pid: int, threads: int) -> "list[int]":
    task = f"/proc/{pid}/task/"
    found: list[int] = []
    try:
        for thread in os.listdir(task) if threads > 1 else [str(pid)]:
            found += [int(child) for child in read(task + thread + "/children").split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def _children_by_parent() -> "Callable[[int, int], list[int]]":
    """Read all of /proc once, for kernels without CONFIG_PROC_CHILDREN."""
    table: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                table.setdefault(int(_stat(f"/proc/{name}/stat")[1]), []).append(int(name))
            except OSError:
                continue
    return lambda pid, threads: table.get(pid, [])


# What the tree used.


def _plus(one: "tuple[float, ...]", other: "tuple[float, ...]") -> "tuple[float, ...]":
    return tuple([value + other[i] for i, value in enumerate(one)])


def _minus(one: "tuple[float, ...]", other: "tuple[float, ...]") -> "tuple[float, ...]":
    return tuple([value - other[i] for i, value in enumerate(one)])


class Ledger:
    """Adds up the tree: what lives, what we have reaped, and what the kernel has lost."""

    def __init__(self, tree: Tree, before: "tuple[float, ...]") -> None:
        nothing = (0.0, 0.0, *NO_IO)
        self.tree = tree
        self.total = nothing
        self.maxrss = 0  # [kB]
        self._gone = _minus(nothing, before)  # what our fork of the interpreter used is not the task's
        self._reaped: set[int] = set()
        self._last: dict[tuple[int, bytes], Process] = {}
        self._waits: dict[tuple[int, bytes], int] = {}
        self._waits_gone = 0

    def look(self) -> "list[Process]":
        """Bring the totals up to now and return what lives."""
        found = self.tree.walk()
        self._keep_the_lost(found)
        total = self._gone
        for process in found.values():
            total = _plus(total, process.used)
            self._count_wait(process)
        self._last = found
        self._reaped.clear()
        self.total = tuple(map(max, self.total, total))
        return [process for process in found.values() if process.alive]

    def _keep_the_lost(self, found: "dict[tuple[int, bytes], Process]") -> None:
        for key, process in self._last.items():
            if key in found:
                continue
            self._waits_gone += self._waits.pop(key, 0)
            if process.unreaped and process.pid not in self._reaped:
                self._gone = _plus(self._gone, process.used)
                self.tree.note("a process ignores SIGCHLD: its children count up to when they were last seen")

    def _count_wait(self, process: Process) -> None:
        self._waits[process.key] = max(self._waits.get(process.key, 0), process.iowait)

    def iowait(self) -> "float | None":
        """Time waited for block devices [s], of processes that were seen; None where the kernel does not count it."""
        return (self._waits_gone + sum(self._waits.values())) / TICKS if self.tree.sees_iowait else None

    def reap(self) -> "tuple[int, int, resource.struct_rusage] | None":
        """Collect an ended child: (pid, wait status, usage with its children's); None if none has ended.

        Its I/O is what our own counters grow by, which no permission can hide.

        Raises
        ------
        ChildProcessError
            There are no children.
        """
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        self._last_wait(ended.si_pid)
        before = self._own_io()
        pid, status, usage = os.wait4(ended.si_pid, 0)
        after = self._own_io()
        self._reaped.add(pid)
        self._gone = _plus(self._gone, (usage.ru_utime, usage.ru_stime, *_growth(before, after)))
        self.maxrss = max(self.maxrss, usage.ru_maxrss)
        return pid, status, usage

    def _last_wait(self, pid: int) -> None:
        try:
            process = self.tree.process(pid) if self.tree.sees_iowait else None
        except OSError as error:
            self.tree.note(f"iowait of an ended process is not counted: {error}")
            return
        if process:
            self._count_wait(process)
            self._last[process.key] = process

    def _own_io(self) -> "tuple[tuple[int, ...], int] | None":
        try:
            return self.tree.own_io() if self.tree.sees_io else None
        except OSError as error:
            self.tree.note(f"I/O of an ended process is not counted: {error}")
            return None


def _growth(
    before: "tuple[tuple[int, ...], int] | None", after: "tuple[tuple[int, ...], int] | None"
) -> "tuple[float, ...]":
    if before is None or after is None:
        return NO_IO
    return _minus(_minus(after[0], before[0]), (before[1], 0, 1, 0, 0, 0))  # less the first look itself


# Records.


class Trace:
    """The file that takes the records; it never raises into the job."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem = ""
        self._descriptor = -1
        self._torn = False
        try:
            # O_NONBLOCK: a named pipe that nobody reads must not hold up the job.
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
        except OSError as error:
            self.problem = f"trace: {error}"

    def write(self, record: "dict[str, object]") -> bool:
        """Append a record as one line; False when it is not there afterwards."""
        if self._descriptor < 0:
            return False
        line = b"\n" * self._torn + json(record).encode() + b"\n"
        try:
            self._torn = os.write(self._descriptor, line) < len(line)
        except OSError as error:
            self.problem = f"trace {self.path}: {error}"
            return False
        if self._torn:
            self.problem = f"trace {self.path}: a record was cut, is the disk full?"
        return not self._torn


def json(value: object) -> str:
    """Write plain values as JSON; the package `json` would load `re`, for its reading half, at 7 ms a job."""
    if isinstance(value, dict):
        return "{" + ",".join([json(name) + ":" + json(item) for name, item in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([json(item) for item in value]) + "]"
    if isinstance(value, str):
        return _quoted(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(round(value, 6) if isinstance(value, float) else value)


def _quoted(text: str) -> str:
    try:
        from _json import encode_basestring_ascii as quote
    except ImportError:
        from json import dumps as quote
    return str(quote(text))


def identity(environment: "dict[str, str]") -> "dict[str, object]":
    """Say whose records these are; an id that nobody set is an empty text, as in kickstart's own records."""
    ranks = [environment[name] for name in RANKS if environment.get(name, "").isdigit()]
    attempt = environment.get("PANORAMA_ATTEMPT", "")
    return {
        "hostname": os.uname().nodename,
        "site": environment.get("PEGASUS_SITE", ""),
        "wf_uuid": environment.get("PEGASUS_WF_UUID", ""),
        "wf_label": environment.get("PEGASUS_WF_LABEL", ""),
        "dag_job_id": environment.get("PEGASUS_DAG_JOB_ID", ""),
        "condor_job_id": environment.get("CONDOR_JOBID", ""),
        "attempt": int(attempt) if attempt.isdigit() else None,
        "xformation": environment.get("PEGASUS_XFORMATION", ""),
        "task_id": environment.get("PEGASUS_TASK_ID", ""),
        "rank": int(ranks[0]) if ranks else 0,
    }


class Recorder:
    """Makes the records of one job."""

    def __init__(self, options: Options, task: "Task", ledger: Ledger, who: "dict[str, object]") -> None:
        self.options = options
        self.task = task
        self.ledger = ledger
        self.trace = Trace(options.trace)
        self.told = False
        self._seq = 0
        self._who = dict(who, interval=options.interval, pid=task.pid, exe=task.path)

    def sample(self) -> None:
        """Look at the tree and write what it has used so far."""
        self._write(self.ledger.look(), {"final": False})

    def finish(self) -> None:
        """Write the last record."""
        alive = self.ledger.look()
        if alive:
            self.options.note(f"{len(alive)} processes outlived the task: their later use is not counted")
        if self.trace.problem:
            self.options.note(self.trace.problem)
        end: dict[str, object] = {"final": True}
        end.update(self._maxrss())
        end.update(self.task.facts())
        end["problems"] = self.options.problems
        self.told = self._write(alive, end)

    def _write(self, alive: "list[Process]", more: "dict[str, object]") -> bool:
        record: dict[str, object] = {"event": "kickstart.inv.online", "ts": time.time(), "seq": self._seq}
        record.update(self._who)
        record.update(self._counters())
        record.update(self._levels(alive))
        record.update(more)
        self._seq += 1
        return self.trace.write(record)

    def _counters(self) -> "dict[str, object]":
        utime, stime, *io = self.ledger.total
        counters: dict[str, object] = {"utime": utime, "stime": stime, "iowait": self.ledger.iowait()}
        for i, name in enumerate(IO):
            counters[name] = io[i] if self.ledger.tree.sees_io else None
        return counters

    def _levels(self, alive: "list[Process]") -> "dict[str, object]":
        if not self.ledger.tree.sees_processes:
            return dict.fromkeys(("vm", "rss", "procs", "threads"))
        return {
            "vm": sum([process.vm for process in alive]),
            "rss": sum([process.rss for process in alive]),
            "procs": len(alive),
            "threads": sum([process.threads for process in alive]),
        }

    def _maxrss(self) -> "dict[str, object]":
        """Largest resident size of one process [kB], or what it is below.

        execve(2) hands on the mark of the interpreter that was forked, which a smaller job does not reach.
        """
        if self.ledger.maxrss > self.task.maxrss_before:
            return {"maxrss": self.ledger.maxrss}
        return {"maxrss": None, "maxrss_below": self.task.maxrss_before}


# The task.


class Task:
    """The command as a child in a process group of its own.

    Where our group is the foreground of the terminal at stdin, the task stays in it: the terminal then interrupts,
    stops and continues the two together, and the shell's job control works as without a probe.
    """

    def __init__(self, command: "list[str]", own_group: bool) -> None:
        self.own_group = own_group
        self.status: int | None = None
        self.before: tuple[float, ...] = (0.0, 0.0, *NO_IO)
        self.maxrss_before = 0  # [kB]
        paths = candidates(command[0])
        self.path = paths[0]
        probe = os.getpid()
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(command, paths, probe, writing)
        os.close(writing)
        self._wait_for_exec(reading)
        self._started = time.time()
        self._clock = time.monotonic()

    def _become(self, command: "list[str]", paths: "list[str]", probe: int, report: int) -> None:
        """Turn the forked child into the command; it writes its own usage so far and reads nothing."""
        code = 126
        try:
            if self.own_group:
                os.setpgid(0, 0)
            restore_signals()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the KILL of kickstart's -K reaches only the probe
            if os.getppid() == probe:
                os.write(report, _usage_so_far())
                code = execute(command, paths)
        finally:
            os._exit(code)

    def _wait_for_exec(self, report: int) -> None:
        text = os.read(report, 100)
        os.read(report, 1)  # the end comes with the exec
        os.close(report)
        words = text.split()
        if len(words) == 3:
            self.before = (int(words[0]) / 1e6, int(words[1]) / 1e6, 0, len(text), 0, 1, 0, 0)
            self.maxrss_before = int(words[2]) + MAXRSS_SLACK

    def ended(self, status: int, usage: "resource.struct_rusage") -> None:
        """Note the end."""
        self.status = status
        self._usage = usage
        self._duration = time.monotonic() - self._clock

    def facts(self) -> "dict[str, object]":
        """Say how it ended; the rusage is the kernel's own, with the milliseconds between fork and exec."""
        return {
            "exitcode_raw": self.status,
            "start_ts": self._started,
            "dur": self._duration,
            "rusage_utime": self._usage.ru_utime,
            "rusage_stime": self._usage.ru_stime,
        }

    def send(self, number: int) -> None:
        """Send a signal to the task, or to its group when the signal is meant for all."""
        if self.status is None:
            all_of_it = self.own_group and number not in TO_TASK
            _send(os.killpg if all_of_it else os.kill, self.pid, number)


def _usage_so_far() -> bytes:
    if not resource:
        return b"0 0 0"
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return b"%d %d %d" % (usage.ru_utime * 1e6, usage.ru_stime * 1e6, usage.ru_maxrss)


def _send(kill: "Callable[[int, int], None]", pid: int, number: int) -> None:
    try:
        kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it ended meanwhile or became another user: as it would have been without a probe


def candidates(program: str) -> "list[str]":
    """List the paths that execvp(3) would try, those that can be executed if there are any."""
    if "/" in program or not program:
        return [program]
    folders = os.environ.get("PATH", "/bin:/usr/bin").split(":")
    paths = [os.path.join(folder or ".", program) for folder in folders]
    return [path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)] or paths


def restore_signals() -> None:
    """Undo what Python did to the signals at its start, and then what we did."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if INHERITED_SIGCHLD == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, INHERITED_MASK)


def execute(command: "list[str]", paths: "list[str]") -> int:
    """Become the command; when that fails, say why and return the shell's exit code: 127 not found, 126 otherwise."""
    refusal: OSError | None = None
    for path in paths:
        try:
            os.execv(path, command)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refusal = refusal or error
    say(f"{command[0]}: {refusal.strerror if refusal else 'command not found'}")
    return 126 if refusal else 127


def say(text: str) -> None:
    """Write a line to stderr, if there is one."""
    try:
        os.write(2, f"panorama_probe: {text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        return


# Supervision.


class Supervisor:
    """Runs the task and waits for signals and the clock: one thread, no handlers, nothing polled."""

    def __init__(self, options: Options, environment: "dict[str, str]") -> None:
        self.options = options
        self.childless = False
        self.parent_died = False
        self.told_to_end = False
        self.ending = False
        self.kill_at: float | None = None
        self.give_up_at: float | None = None
        self.begun = 0.0
        self.sample_at: float | None = None
        self.recorder: Recorder | None = None
        on_terminal = _on_terminal()
        self.heard = TO_GROUP + TO_TASK + (() if on_terminal else JOB_CONTROL) + (signal.SIGCHLD, PARENT_DIED)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would have the kernel forget our children
        if not prctl(PR_SET_CHILD_SUBREAPER, 1):
            options.note("no prctl (ctypes missing?): processes whose parent has ended are not seen")
        signal.pthread_sigmask(signal.SIG_BLOCK, self.heard)
        self.has_notice = options.die_with_parent and prctl(PR_SET_PDEATHSIG, PARENT_DIED)
        if not self._parent_lives():
            say("not started: the process that asked for it has gone")
            die_as(signal.SIGTERM)
        self.task = Task(options.command, own_group=not on_terminal)
        _let_go_of_stdio()
        self.tree = Tree(options)
        self.ledger = Ledger(self.tree, self.task.before)
        if options.trace:
            self.recorder = Recorder(options, self.task, self.ledger, identity(environment))
            self.begun = self.sample_at = time.monotonic()

    def run(self) -> int:
        """See the command to its end and return its wait status."""
        self._guarded(self._act_on_time)
        while not self._finished():
            self._guarded(self._turn)
        if self.recorder:
            self._guarded(self.recorder.finish)
        if not (self.recorder and self.recorder.told):
            for problem in self.options.problems:
                say(problem)
        return self.task.status or 0

    def _guarded(self, act: "Callable[[], None]") -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - neither a full file table nor our own defects may end the job
            self.options.note(f"in {act.__name__.strip('_')}: {error!r}")

    def _turn(self) -> None:
        """Wait for one signal or the next moment, and act on it."""
        happened = signal.sigtimedwait(self.heard, self._patience())
        if happened is None:
            self._reap()  # should an error have come between a SIGCHLD and its child
        else:
            self._hear(happened.si_signo, happened.si_code)
        self._act_on_time()

    def _patience(self) -> float:
        moments = [moment for moment in (self.sample_at, self.kill_at) if moment is not None]
        if self.options.die_with_parent and not self.has_notice:
            moments.append(time.monotonic() + 1.0)
        return max(0.0, min(moments) - time.monotonic()) if moments else 1e6

    def _act_on_time(self) -> None:
        now = time.monotonic()
        if not self.has_notice and not self._parent_lives():
            self._lose_parent()
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = now + KILL_AGAIN
            self.give_up_at = self.give_up_at or now + GIVE_UP_AFTER
            self._send_all(signal.SIGKILL)
        if self.recorder and self.sample_at is not None and now >= self.sample_at:
            self.sample_at = self._next_sample(now)
            self.recorder.sample()

    def _next_sample(self, now: float) -> "float | None":
        interval = self.options.interval
        for early in EARLY:
            if early < interval and now < self.begun + early:
                return self.begun + early
        # What was missed stays missed.
        return self.begun + interval * ((now - self.begun) // interval + 1) if interval else None

    def _hear(self, number: int, code: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == PARENT_DIED:
            if not self._parent_lives():
                self._lose_parent()
        elif self.task.own_group or code != SI_KERNEL:  # else the terminal has told the task as well
            self._forward(number)

    def _forward(self, number: int) -> None:
        if number == signal.SIGTERM:
            self.told_to_end = True
            if self.options.kill_after is not None and self.kill_at is None:
                self.kill_at = time.monotonic() + self.options.kill_after
        self.task.send(number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)  # the shell sees its job stop, and will continue both of us

    def _parent_lives(self) -> bool:
        """Compare with the parent that we began with: the kernel's notice comes only for deaths after we asked for it,
        and also when the mere thread that started us has ended."""
        return not self.options.die_with_parent or os.getppid() == self.options.parent

    def _lose_parent(self) -> None:
        if not self.parent_died:
            self.parent_died = True
            self.options.note("the process that asked for this job died: the job was ended")
            self._end_all(KILL_AFTER)

    def _reap(self) -> None:
        try:
            while True:
                ended = self.ledger.reap()
                if ended is None:
                    break
                if ended[0] == self.task.pid:
                    self.task.ended(ended[1], ended[2])
        except ChildProcessError:
            self.childless = True
        if self.task.status is not None and not self.childless and not self.ending:
            if self.options.end_leftovers:
                self._end_all(KILL_AFTER)
            elif self.told_to_end:
                self._end_all(KILL_STRAYS_AFTER)

    def _end_all(self, patience: float) -> None:
        self.ending = True
        kill_after = patience if self.options.kill_after is None else self.options.kill_after
        self.kill_at = time.monotonic() + kill_after
        self._send_all(signal.SIGTERM)
        self._send_all(signal.SIGCONT)  # what is stopped hears the TERM only then

    def _send_all(self, number: int) -> None:
        grouped = self.task.own_group and self.task.status is None
        tree = self._walk()  # before the task ends, which may put its children out of sight
        self.task.send(number)
        for process in tree:
            told = process.pid == self.task.pid or (grouped and process.group == self.task.pid)
            if process.alive and not told:
                _send(os.kill, process.pid, number)

    def _walk(self) -> "list[Process]":
        try:
            return list(self.tree.walk().values())
        except (OSError, LookupError, ValueError) as error:
            self.options.note(f"only the task's process group was ended: {error!r}")
            return []

    def _finished(self) -> bool:
        if self.task.status is None:
            return False
        if self.give_up_at is not None and time.monotonic() >= self.give_up_at:
            self.options.note("some processes of the job could not be ended")
            return True
        return self.childless or not self.ending


def _on_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _let_go_of_stdio() -> None:
    """Hold no end of the job's pipes: the others shall see them close when the job closes them."""
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.close(nothing)
    except OSError:
        return


def die_as(status: int) -> None:
    """End as the task ended: with its exit code, or of its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if resource:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core is enough, and it is the task's
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # process 1 of a container survives its own signal
    os._exit(os.WEXITSTATUS(status))


def _undo_locale_coercion() -> None:
    """Take back the LC_CTYPE that Python sets in a C locale (PEP 538): the job must not see it."""
    if os.environ.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        try:
            given = read("/proc/self/environ").split(b"\0")
        except OSError:
            return
        if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
            del os.environ["LC_CTYPE"]


def main(arguments: "list[str]") -> None:
    """Run the command line `arguments`; does not return."""
    usage = (__doc__ or "").split("\n\n")[1:3]
    if arguments[:1] in (["--help"], ["-h"]):
        os.write(1, "\n\n".join([*usage, ""]).encode())
        os._exit(0)
    environment = dict(os.environ)
    try:
        options = parse(arguments, environment)
    except ValueError as error:
        say(f"{error}\n{usage[0]}")
        os._exit(2)
    _undo_locale_coercion()
    if options.supervises():
        try:
            supervisor = Supervisor(options, environment)
        except OSError as error:  # no process or no file left to be had
            options.note(f"the job runs without its probe: {error}")
        else:
            die_as(supervisor.run())
    for problem in options.problems:
        say(problem)
    restore_signals()
    os._exit(execute(options.command, candidates(options.command[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
