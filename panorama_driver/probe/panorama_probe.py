#!/usr/bin/env python3
"""Runs one job and writes what its whole process tree used, as `kickstart.inv.online` records, one JSON object a line.

usage: panorama_probe.py [--interval S] [--trace FILE] [--payload] [--marker STREAM] [--budget BYTES] [--darshan LIB]
                         [--tcp] [--credentials FILE] [--ca FILE] [--kill-after S] [--die-with-parent[=PID]]
                         [--end-leftovers] [--] COMMAND [ARGUMENT...]

  --interval S             time between two records [s]; 0: the first and the last only  (1)
  --trace FILE             append the records to FILE  (KICKSTART_MON_URL=file://...)
  --payload                send the records home with the job: in PEGASUS_MULTIPART_DIR, else on the marker's stream
  --marker STREAM          stdout or stderr: where the payload is written between Pegasus' monitoring markers  (none)
  --budget BYTES           size of the payload; records in between are left out to keep it  (200000; multipart 2000000)
  --darshan LIB            preload libdarshan.so into the job and put its logs into the payload
  --tcp                    watch the job's TCP connections too, as `transfer.tcp` records
  --credentials FILE       netrc with user and password for KICKSTART_MON_URL, readable by its owner alone
  --ca FILE                certificates that KICKSTART_MON_URL is verified with  (the system's)
  --kill-after S           KILL what still lives S seconds after a TERM  (left to the sender; 5 when the parent died)
  --die-with-parent[=PID]  end the job when the process that started the probe is gone, even by KILL
  --end-leftovers          end what still lives when the command itself has ended

Every option may come from the environment: PANORAMA_PROBE_INTERVAL, PANORAMA_PROBE_END_LEFTOVERS=1, ...
KICKSTART_MON_URL=http(s)://... or rabbitmq(s)://HOST/api/exchanges/VHOST/EXCHANGE/publish also posts the records live.

It stands between kickstart, or our own engine, and the job: standard library only, one file, Python 3.6 or later, best
started as `python3 -IS`. The job keeps its stdin, stdout, stderr, environment, signals and exit status. What cannot be
observed is said in `problems` of the last record, or on stderr when there is no record to say it in. With a marker the
block is the last of the stream's bytes, and the stream ends with the probe. A password in KICKSTART_MON_URL is kept
from the job; with Darshan the job has LD_PRELOAD and Darshan's own variables.

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
    import socket
    import ssl
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

MULTIPART_BUDGET = 2000000  # [bytes]
MARKER_BUDGET = 200000  # [bytes] of the 262,144 that kickstart keeps of a stream's end
START, END = "@@@MONITORING_PAYLOAD - START@@@", "@@@MONITORING_PAYLOAD - END@@@"
WRITE_WITHIN = 2.0  # [s] for a payload: a pipe that nobody reads or a lost file server may not hold the job
SAY_WITHIN = 0.5  # [s]
MOST_LOGS = 200  # of Darshan that are named in a payload
DARSHAN_SETTINGS = "settings"  # file among the logs
LOG_ENTRY = 200  # [bytes] for a log's name, size and reason
LOGS_IN_TRACE = 64000000  # [bytes] of Darshan's logs, where they are written beside the samples
LONGEST_LOG = 3000000  # [bytes] that make a line of the trace which a collector still reads

QUEUE = 256  # records that wait for a slow endpoint
POST_WITHIN = 5.0  # [s]
DELIVER_WITHIN = 0.9  # [s] after the job's end, for all that is queued
HURRIED_WITHIN = 0.3  # [s] likewise, when the job was told to end and a KILL may follow, or nothing arrived lately
LOOK_AT_CONNECTIONS = 0.25  # [s] between two looks for new ones
LOOKING_SHARE = 0.005  # of one core, at most: looks become rarer on a host with very many sockets
TOLD_AT_ONCE = 20  # connections that still live, in one sample: the others have their turn in the next
MOST_CONNECTIONS = 1000  # that are followed at a time: the job's end waits while the last of each is told
MOST_HEARD = 5000  # ends of connections, in one look
MOST_ENDED = 10000  # that are told of in all
MOST_FILES = 10000  # of one process that are looked through for sockets
ENDS_WITHIN = 0.05  # [s] for the kernel's last words on what was just closed

PATIENCE, MOST_PATIENCE = 0.5, 60.0  # [s] between two attempts at an endpoint that fails: the first, the longest

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
        self.online = ""
        self.payload = False
        self.marker = ""
        self.budget: float | None = None
        self.darshan = ""
        self.tcp = False
        self.credentials = ""
        self.ca = ""
        self.kill_after: float | None = None
        self.die_with_parent = False
        self.parent = PARENT
        self.end_leftovers = False
        self.problems: list[str] = []

    def records(self) -> bool:
        """Whether anybody wants the records."""
        return bool(self.trace or self.payload or self.online)

    def supervises(self) -> bool:
        """Whether there is more to do than to become the command."""
        return self.records() or self.die_with_parent or self.end_leftovers or self.kill_after is not None

    def note(self, problem: str) -> None:
        """Keep a problem for the last record, each once; an empty text is none."""
        if problem and problem not in self.problems and len(self.problems) < 20:
            self.problems.append(problem)

    def set_value(self, name: str, text: str, where: str) -> None:
        """Take an option that has a value."""
        if name not in NUMBERS:
            setattr(self, name, text)
            return
        try:
            setattr(self, name.replace("-", "_"), _number(text))
        except ValueError:
            self.note(f"{where}: {text!r} is not a {NUMBERS[name]}, ignored")

    def set_flag(self, name: str) -> None:
        """Take an option without a value, or --die-with-parent with its process id."""
        name, _, parent = name.partition("=")
        setattr(self, name.replace("-", "_"), True)
        if parent.isdigit():
            self.parent = int(parent)


NUMBERS = {"interval": "time in seconds", "kill-after": "time in seconds", "budget": "number of bytes"}
VALUES = ("trace", "marker", "darshan", "credentials", "ca", *NUMBERS)
FLAGS = ("payload", "tcp", "die-with-parent", "end-leftovers")


def _number(text: str) -> float:
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
    elif scheme in SCHEMES:
        options.online = environment["KICKSTART_MON_URL"]
    elif scheme:
        options.note("KICKSTART_MON_URL: only file, http, https, rabbitmq and rabbitmqs are known, no records go there")
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
        self.state = stat[0]
        self.alive = stat[0] not in (b"Z", b"X") or self.threads > 1
        self.vm = int(stat[20]) // 1024
        self.rss = int(stat[21]) * PAGE_KB
        self.ignores_children = bool(int(stat[30]) >> (signal.SIGCHLD - 1) & 1)
        self.iowait = int(stat[39])  # [ticks]
        self.schedule: tuple[int, ...] = ()  # [ns] on a processor, and ready but waiting for one
        self.unreaped = False


class Tree:
    """Finds all descendants of this probe."""

    def __init__(self, options: Options) -> None:
        self.note = options.note
        self.me = os.getpid()
        self.poster_io = ""  # the file with the I/O of our own second thread, when there is one
        self._seen: tuple[float, ...] = NO_IO
        self.sees_processes = self._can("processes", self._own_proc)
        self.sees_io = self.sees_processes and self._can("I/O", self.own_io)
        self.sees_iowait = self.sees_processes and _delay_accounting()
        self.sees_schedule = self.sees_processes and _schedule("/proc/self/") > (0, 0)
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

    def own_io(self) -> "tuple[float, ...]":
        """Read our own counters, less what looking at them has added and less what the posting thread does."""
        beside = self._look(self.poster_io)
        for _ in range(20):
            seen = self._seen
            ours = self._look("/proc/self/io")
            before, beside = beside, self._look(self.poster_io)
            if before == beside:
                break
        return _minus(_minus(ours, beside), seen)

    def _look(self, path: str) -> "tuple[float, ...]":
        if not path:
            return NO_IO
        text = read(path)
        self._seen = _plus(self._seen, (len(text), 0, 1, 0, 0, 0))
        return _io(text)

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
            if self.sees_schedule and process.state == b"R":  # who sleeps waits for no processor
                process.schedule = _schedule(path)
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


def _schedule(path: str) -> "tuple[int, ...]":
    """What the kernel (CONFIG_SCHED_INFO) tells of a process, or of the first of its threads; zeros where nothing."""
    try:
        return tuple(map(int, read(path + "schedstat").split()[:2])) or (0, 0)
    except (OSError, ValueError):
        return (0, 0)


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
        self._schedules: dict[tuple[int, bytes], tuple[int, ...]] = {}
        self._schedule_gone = (0, 0)

    def look(self) -> "list[Process]":
        """Bring the totals up to now and return what lives."""
        found = self.tree.walk()
        self._keep_the_lost(found)
        total = self._gone
        for process in found.values():
            total = _plus(total, process.used)
            self._count_wait(process)
            if process.schedule:
                self._schedules[process.key] = process.schedule
        self._last = found
        self._reaped.clear()
        self.total = tuple(map(max, self.total, total))
        return [process for process in found.values() if process.alive]

    def _keep_the_lost(self, found: "dict[tuple[int, bytes], Process]") -> None:
        for key, process in self._last.items():
            if key in found:
                continue
            self._waits_gone += self._waits.pop(key, 0)
            ran, waited = self._schedules.pop(key, (0, 0))
            self._schedule_gone = (self._schedule_gone[0] + ran, self._schedule_gone[1] + waited)
            if process.unreaped and process.pid not in self._reaped:
                self._gone = _plus(self._gone, process.used)
                self.tree.note("a process ignores SIGCHLD: its children count up to when they were last seen")

    def _count_wait(self, process: Process) -> None:
        self._waits[process.key] = max(self._waits.get(process.key, 0), process.iowait)

    def iowait(self) -> "float | None":
        """Time waited for block devices [s], of processes that were seen; None where the kernel does not count it."""
        return (self._waits_gone + sum(self._waits.values())) / TICKS if self.tree.sees_iowait else None

    def schedule(self) -> "tuple[float | None, float | None]":
        """Time [s] on a processor, and ready but without one, of first threads that were seen; None where not told."""
        if not self.tree.sees_schedule:
            return None, None
        ran, waited = self._schedule_gone
        for schedule in self._schedules.values():
            ran, waited = ran + schedule[0], waited + schedule[1]
        return ran / 1e9, waited / 1e9

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

    def _own_io(self) -> "tuple[float, ...] | None":
        try:
            return self.tree.own_io() if self.tree.sees_io else None
        except OSError as error:
            self.tree.note(f"I/O of an ended process is not counted: {error}")
            return None


def _growth(before: "tuple[float, ...] | None", after: "tuple[float, ...] | None") -> "tuple[float, ...]":
    return NO_IO if before is None or after is None else _minus(after, before)


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

    def write(self, record: str) -> bool:
        """Append a record as one line; False when it is not there afterwards."""
        if self._descriptor < 0:
            return False
        line = b"\n" * self._torn + record.encode() + b"\n"
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
        return "{" + ",".join([(NAMES.get(name) or _name(name)) + json(item) for name, item in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([json(item) for item in value]) + "]"
    if isinstance(value, str):
        return _quoted(_plain(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        return repr(value)
    text = repr(round(value, 6))
    return text if "e" not in text else f"{value:.6f}"  # monitord reads it as YAML 1.1, to which 1e-06 is a text


NAMES: "dict[str, str]" = {}  # of fields, as JSON has them: the same few in every record


def _name(name: str) -> str:
    NAMES[name] = json(name) + ":"
    return NAMES[name]


def _plain(text: str) -> str:
    """Replace what JSON writes in two halves: monitord reads a multipart as YAML, which refuses those."""
    if max(text, default="") < "\U00010000":
        return text
    return "".join([letter if letter < "\U00010000" else "\ufffd" for letter in text])


def _quoted(text: str) -> str:
    try:
        from _json import encode_basestring_ascii as quote
    except ImportError:
        from json import dumps as quote
    # YAML refuses a bare DEL, and no text may look like the end of the payload.
    return str(quote(text)).replace("\x7f", "\\u007f").replace("@@@", "\\u0040@@")


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
    """Makes the records of one job and gives them to whoever wants them."""

    def __init__(
        self,
        options: Options,
        task: "Task",
        ledger: Ledger,
        who: "dict[str, object]",
        payload: "Payload | None" = None,
        darshan: "Darshan | None" = None,
    ) -> None:
        self.options = options
        self.task = task
        self.ledger = ledger
        self.trace = Trace(options.trace) if options.trace else None
        self.payload = payload
        self.darshan = darshan
        self.connections = Connections(options, ledger.tree) if options.tcp else None
        self.poster = Poster.start(options) if options.online else None
        if self.poster:
            ledger.tree.poster_io = self.poster.io
        self.told = 0  # of the problems
        self._seq = 0
        self._who = json(dict(who, interval=options.interval, pid=task.pid, exe=task.path))[1:-1]

    def sample(self) -> None:
        """Look at the tree and tell what it has used so far."""
        record = json(self._record(self.ledger.look(), {"final": False}))
        if self.trace:
            self.trace.write(self._line(record))
        if self.payload:
            self.payload.add(record)
        if self.poster:
            self.poster.put(self._line(record))
        if self.connections:
            self.connections.look()
            self._tell_connections(self.connections.news(TOLD_AT_ONCE))

    def _tell_connections(self, news: "list[Connection]") -> None:
        for connection in news:
            record = json(connection.record())
            if self.trace:
                self.trace.write(self._line(record))
            if self.payload:
                self.payload.add(record, connection.cookie, connection.moved())
            if self.poster and (connection.ended or self.poster.has_room()):
                self.poster.put(self._line(record))

    def secure(self) -> None:
        """Have a payload ready, where it can be replaced: who told the job to end may not wait for the last record."""
        if self.payload and self.payload.folder:
            self.sample()
            self.payload.save(self._who)

    def finish(self, hurried: bool) -> None:
        """Tell the last record: first to those who may fail, since the next are told of it."""
        if self.connections:
            self.connections.end()
            self._tell_connections(self.connections.news(MOST_CONNECTIONS))
        alive = self.ledger.look()
        if alive:
            self.options.note(f"{len(alive)} processes outlived the task: their later use is not counted")
        if self.trace and self.trace.problem:
            self.options.note(self.trace.problem)
        logs = self.darshan.logs(self.payload.room() if self.payload else LOGS_IN_TRACE) if self.darshan else None
        record = self._record(alive, self._end())
        if self.poster:
            self._tell(self.poster.close, self._line(json(record)), hurried)
            self.options.note(self.poster.problem())
        if self.payload:
            self._tell(self.payload.send, self._who, json(record), logs)
        if self.trace:
            for log in () if self.payload else logs or ():
                self._tell(self.trace.write, self._line(json(dict(log, event="darshan.log"))))
            self._tell(self.trace.write, self._line(json(record)))

    def _end(self) -> "dict[str, object]":
        end: dict[str, object] = {"final": True}
        end.update(self._maxrss())
        end.update(self.task.facts())
        end["problems"] = self.options.problems
        return end

    def _tell(self, send: "Callable[..., bool]", *what: object) -> None:
        known = len(self.options.problems)
        try:
            if send(*what):
                self.told = known
        except Exception as error:  # noqa: BLE001 - a defect of one way must not close the others
            self.options.note(f"in {send.__name__}: {error!r}")

    def _record(self, alive: "list[Process]", more: "dict[str, object]") -> "dict[str, object]":
        record: dict[str, object] = {"event": "kickstart.inv.online", "ts": time.time(), "seq": self._seq}
        record.update(self._counters())
        record.update(self._levels(alive))
        record.update(more)
        self._seq += 1
        return record

    def _line(self, record: str) -> str:
        return f"{record[:-1]},{self._who}}}"

    def _counters(self) -> "dict[str, object]":
        utime, stime, *io = self.ledger.total
        counters: dict[str, object] = {"utime": utime, "stime": stime, "iowait": self.ledger.iowait()}
        for i, name in enumerate(IO):
            counters[name] = io[i] if self.ledger.tree.sees_io else None
        counters["runtime"], counters["rundelay"] = self.ledger.schedule()
        return counters

    def _levels(self, alive: "list[Process]") -> "dict[str, object]":
        if not self.ledger.tree.sees_processes:
            return dict.fromkeys(("vm", "rss", "procs", "threads", "running", "blocked", "stopped"))
        states = [process.state for process in alive]
        return {
            "vm": sum([process.vm for process in alive]),
            "rss": sum([process.rss for process in alive]),
            "procs": len(alive),
            "threads": sum([process.threads for process in alive]),
            "running": states.count(b"R"),
            "blocked": states.count(b"D"),
            "stopped": states.count(b"T") + states.count(b"t"),
        }

    def _maxrss(self) -> "dict[str, object]":
        """Largest resident size of one process [kB], or what it is below.

        execve(2) hands on the mark of the interpreter that was forked, which a smaller job does not reach.
        """
        if self.ledger.maxrss > self.task.maxrss_before:
            return {"maxrss": self.ledger.maxrss}
        return {"maxrss": None, "maxrss_below": self.task.maxrss_before}


# Home with the job.


class Payload:
    """The records kept in memory, and their way home: a file that PegasusLite appends to the job's record, or a stream.

    Where they outgrow the budget every second one is left out, again and again. The first and the last stay, and what
    counts is cumulative: the totals stay exact.
    """

    def __init__(self, options: Options, environment: "dict[str, str]") -> None:
        self.note = options.note
        self.budget = options.budget
        self.folder = environment.get("PEGASUS_MULTIPART_DIR", "")
        self.stream = -1
        if self.folder and not os.path.isdir(self.folder):
            self.note(f"payload: PEGASUS_MULTIPART_DIR is no folder: {self.folder}")
            self.folder = ""
        if not self.folder:
            self._take_stream(options.marker)
        self._marker = options.marker
        self._records: list[tuple[int, str]] = []
        self._newest: dict[bytes, tuple[int, int, str]] = {}
        self._too_small = -1  # [bytes] that connections moved which were left out
        self._size = 0
        self._stride = 1
        self._count = 0

    def _take_stream(self, marker: str) -> None:
        if marker not in ("stdout", "stderr"):
            self.note(f"payload: nowhere to send it: no PEGASUS_MULTIPART_DIR, and the marker is {marker!r}")
            return
        try:
            self.stream = os.dup(1 if marker == "stdout" else 2)
        except OSError as error:
            self.note(f"payload: no {marker} to write it to: {error}")

    def limit(self) -> int:
        """Say how large the payload may become [bytes]."""
        return int(self.budget if self.budget is not None else MULTIPART_BUDGET if self.folder else MARKER_BUDGET)

    def room(self) -> int:
        """Say how many bytes Darshan may have: what the records leave, but half of all at least."""
        return max(self.limit() // 2, self.limit() - self._size - 3000)

    def add(self, record: str, connection: bytes = b"", moved: int = 0) -> None:
        """Keep a record, or at least every n-th one; of each connection, which `moved` so much [bytes], the newest."""
        number = self._count
        self._count += 1
        if connection:
            older = self._newest.get(connection)
            if older is None and moved <= self._too_small:
                return None
            self._newest[connection] = (moved, number, record)
            self._size += len(record) + 1
            if older is None:
                return self._thin(self.limit())
            _, number, record = older
            self._size -= len(record) + 1
        if number % self._stride == 0:
            self._records.append((number, record))
            self._size += len(record) + 1
        return self._thin(self.limit())

    def _thin(self, limit: int) -> None:
        while self._size > limit and len(self._records) > 1:
            self._stride *= 2
            self._records = [kept for kept in self._records if kept[0] % self._stride == 0]
            self._size = sum([len(record) + 1 for _, record in self._kept()])
        if self._size > limit and self._newest:
            self._leave_out_the_smallest(limit)

    def _leave_out_the_smallest(self, limit: int) -> None:
        """Let go of connections that moved least, a good deal of them at once: the next ones come soon."""
        by_size = sorted(self._newest, key=lambda connection: self._newest[connection][0])
        for connection in by_size:
            if self._size <= limit * 9 // 10:
                break
            self._too_small, _, record = self._newest.pop(connection)
            self._size -= len(record) + 1
        self.note("payload: no room for all connections, those that moved least are left out")

    def _kept(self) -> "list[tuple[int, str]]":
        return sorted(self._records + [(number, record) for _, number, record in self._newest.values()])

    def _text(self, who: str, final: "list[str]", logs: "list[dict[str, object]] | None") -> str:
        darshan = "" if logs is None else ',"darshan":' + json(logs)
        self._thin(self.limit() - len(who) - sum(map(len, final)) - len(darshan) - 250)
        records = [record for _, record in self._kept()] + final
        count = self._count + len(final)
        thinned = "" if len(records) == count else f',"thinned":{{"kept":{len(records)},"of":{count}}}'
        return f'{{"format":1,"identity":{{{who}}},"records":[{",".join(records)}]{thinned}{darshan}}}'

    def save(self, who: str) -> None:
        """Write what there is before the last record into the multipart file, which that one's will replace."""
        self._write_file(self._text(who, [], None))

    def send(self, who: str, final: str, logs: "list[dict[str, object]] | None") -> bool:
        """Send all home; False when it is not there afterwards."""
        if self.folder and self._write_file(self._text(who, [final], logs)):
            return True
        if self.folder and self._marker == "stderr":
            self.folder = ""
            self._take_stream(self._marker)
        return self.stream >= 0 and self._write_block(self._text(who, [final], logs))

    def _write_file(self, body: str) -> bool:
        # PegasusLite takes what `ls` shows: only the whole file has such a name.
        path = os.path.join(self.folder, f"panorama-{os.getpid()}.yml")
        hidden = os.path.join(self.folder, f".panorama-{os.getpid()}")
        try:
            with AtMost(WRITE_WITHIN):
                try:
                    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
                    _write_all(descriptor, f"- panorama: {body}\n".encode())
                    os.close(descriptor)
                    os.rename(hidden, path)
                except OSError:
                    _unlink(hidden)
                    raise
        except OSError as error:
            self.note(f"payload {path}: {error}")
            return False
        return True

    def _write_block(self, body: str) -> bool:
        head = f'{{"ts":{int(time.time())},"monitoring_event":"panorama","payload":[{{"panorama":'
        try:
            with AtMost(WRITE_WITHIN):
                _write_all(self.stream, f"{START}{head}{body}}}]}}{END}".encode())
        except OSError as error:
            self.note(f"payload on {self._marker}: {error}")
            return False
        return True


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


# Darshan.


class Darshan:
    """A library that is loaded into every program of the job and writes a log of its I/O, into a folder of our own."""

    def __init__(self, options: Options, folder: str, environment: "dict[str, str]") -> None:
        self.note = options.note
        self.folder = folder
        loaded = environment.get("LD_PRELOAD", "")
        library = os.path.abspath(options.darshan)
        self.environment = {
            "LD_PRELOAD": f"{loaded}:{library}" if loaded else library,
            "DARSHAN_ENABLE_NONMPI": "1",
            "DARSHAN_LOGPATH": folder,
            "DARSHAN_LOG_DIR_PATH": folder,  # the name that most builds --with-log-path-by-env give it
        }
        if "DARSHAN_CONFIG_PATH" not in environment:
            self._include_own_files()

    def _include_own_files(self) -> None:
        """Have the files of the working directory recorded wherever it is: by default Darshan leaves out /var and /opt,
        and HTCondor's own place for jobs is below /var. A regular expression, which ends at a blank or a comma."""
        path = os.path.join(self.folder, DARSHAN_SETTINGS)
        try:
            here = "".join(letter if letter.isalnum() or letter in "/_-" else "." for letter in os.getcwd())
            with open(path, "wb") as file:
                file.write(os.fsencode(f"NAME_INCLUDE ^{here}/ *\n"))
        except OSError as error:
            self.note(f"Darshan's settings: {error}")
            return
        self.environment["DARSHAN_CONFIG_PATH"] = path

    @classmethod
    def prepare(cls, options: Options, environment: "dict[str, str]") -> "Darshan | None":
        """Make the folder; None, and a problem told, when the job goes without Darshan."""
        problem = ""
        if not options.payload and not options.trace:
            problem = "its logs travel in the payload or in the trace, and neither was asked for"
        elif not os.path.isfile(options.darshan):
            problem = f"library not found at {options.darshan}"
        elif " " in options.darshan or ":" in options.darshan:
            problem = f"LD_PRELOAD cannot name {options.darshan}"
        else:
            for parent in (environment.get("TMPDIR", ""), "."):
                try:
                    return cls(options, _log_folder(parent), environment)
                except OSError as error:
                    problem = f"no folder for its logs: {error}"
        options.note(f"no Darshan: {problem}")
        return None

    def logs(self, room: int) -> "list[dict[str, object]]":
        """Read the logs and remove them; the largest are left out where they take more than `room` [bytes] in all."""
        try:
            found = sorted(os.listdir(self.folder))
            names = [name for name in found if not name.isdigit() and name != DARSHAN_SETTINGS]
            if not names:
                self.note("Darshan left no log: is the library for this machine, and the command linked dynamically?")
            most = min(MOST_LOGS, room // (2 * LOG_ENTRY))
            if len(names) > most:
                self.note(f"Darshan: {len(names) - most} of {len(names)} logs are not in the payload")
            sizes = {name: os.lstat(os.path.join(self.folder, name)).st_size for name in names[:most]}
            return self._read(sizes, room - LOG_ENTRY * len(sizes))
        except OSError as error:
            self.note(f"Darshan's logs: {error}")
            return []
        finally:
            self.remove()

    def _read(self, sizes: "dict[str, int]", room: int) -> "list[dict[str, object]]":
        left_out: dict[str, str] = {}
        for name in sorted(sizes, key=sizes.__getitem__):
            room -= (sizes[name] + 2) // 3 * 4
            if room < 0 or sizes[name] > LONGEST_LOG:
                left_out[name] = "no room in the payload" if room < 0 else f"longer than {LONGEST_LOG} bytes"
        return [self._log(name, sizes[name], left_out.get(name, "")) for name in sizes]

    def _log(self, name: str, size: int, reason: str) -> "dict[str, object]":
        log: dict[str, object] = {"name": name, "size": size}
        if not name.endswith(".darshan"):
            reason = "not finished: its process was killed or lives on"
        if not reason:
            try:
                log["data"] = _base64(_read_file(os.path.join(self.folder, name)))
            except OSError as error:
                reason = str(error)
        if reason:
            log["reason"] = reason
        return log

    def remove(self) -> None:
        """Remove the folder."""
        try:
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))
            os.rmdir(self.folder)
        except OSError as error:
            self.note(f"Darshan's logs stay in {self.folder}: {error}")


def _log_folder(parent: str) -> str:
    """Make a folder of our own; Darshan's YEAR/MONTH/DAY in it all lead to itself, whatever day a program starts."""
    folder = os.path.join(os.path.abspath(parent), f".panorama-darshan-{os.getpid()}-{int(time.time() * 1e6):x}")
    os.mkdir(folder, 0o700)
    year = time.localtime().tm_year
    try:
        for number in [*range(1, 32), year - 1, year, year + 1]:
            os.symlink(".", os.path.join(folder, str(number)))
    except OSError:
        os.rmdir(folder)  # a file system without links refuses the first
        raise
    return folder


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _base64(text: bytes) -> str:
    from binascii import b2a_base64

    return b2a_base64(text, newline=False).decode()


# Online.

SCHEMES = ("http", "https", "rabbitmq", "rabbitmqs")


class RefusalError(Exception):
    """The endpoint answered that it did not take a record; `for_good` when it never will take this one."""

    def __init__(self, reason: str, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good


class Endpoint:
    """Takes records by HTTP, on one connection as long as the server keeps it; `http.client` would cost 20 ms to load.

    Nothing that it raises names user or password.
    """

    def __init__(self, url: str, credentials: str, ca: str) -> None:
        """Take the URL apart.

        Raises
        ------
        ValueError
            It is no URL.
        """
        scheme, _, rest = url.partition("://")
        authority, _, self._path = rest.partition("/")
        userinfo, _, self._place = authority.rpartition("@")
        self.wraps = scheme.startswith("rabbitmq")
        self._tls = scheme.endswith("s")
        self._credentials = credentials
        self._ca = ca
        self._userinfo = userinfo
        self._host, colon, port = self._place.rpartition(":")
        if not colon or port.endswith("]"):
            self._host, port = self._place, "443" if self._tls else "80"
        self._host = self._host.strip("[]")
        if not self._host or not port.isdigit() or not url.isprintable() or " " in url:
            raise ValueError("KICKSTART_MON_URL is no URL")
        self._port = int(port)
        self._head = b""
        self._connection: socket.socket | None = None
        self._context: ssl.SSLContext | None = None

    def prepare(self) -> None:
        """Read credentials and certificates.

        Raises
        ------
        OSError, ValueError
            They cannot be read or are no such thing.
        """
        user, password = self._login()
        lines = [f"POST /{self._path} HTTP/1.1", f"Host: {self._place}", "User-Agent: panorama-probe"]
        lines.append("Content-Type: application/json")
        if user:
            lines.append("Authorization: Basic " + _base64(f"{user}:{password}".encode("utf-8", "surrogateescape")))
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode("utf-8", "surrogateescape")
        if self._tls:
            import ssl

            self._context = ssl.create_default_context(cafile=self._ca or None)

    def _login(self) -> "tuple[str, str]":
        if self._credentials:
            found = login_for(self._host, _own_text(self._credentials))
            if not found:
                raise ValueError(f"no entry for {self._host} in the file of credentials")
            return found
        user, _, password = self._userinfo.partition(":")
        if "%" in self._userinfo:
            from urllib.parse import unquote

            return unquote(user), unquote(password)
        return user, password

    def post(self, record: bytes) -> None:
        """Post a record.

        Raises
        ------
        RefusalError
            The endpoint does not take it.
        OSError, ValueError
            There is no way to it.
        """
        deadline = time.monotonic() + POST_WITHIN
        was_open = self._connection is not None
        try:
            status, answer = self._exchange(record, deadline)
        except (OSError, ValueError):
            self._hang_up()
            if not was_open:
                raise
            status, answer = self._exchange(record, deadline)  # the server had hung up meanwhile
        if not 200 <= status < 300:
            more = ", redirects are not followed" if 300 <= status < 400 else ""
            raise RefusalError(f"it answered {status}{more}", status in (400, 413, 415, 422))
        if self.wraps and b'"routed":false' in answer:
            raise RefusalError("the exchange has no queue for this kind of record", True)

    def _exchange(self, record: bytes, deadline: float) -> "tuple[int, bytes]":
        if self._connection is None:
            self._connection = self._connect(deadline)
        self._connection.settimeout(_left(deadline))
        self._connection.sendall(b"%s%d\r\n\r\n%s" % (self._head, len(record), record))
        return self._answer(self._connection, deadline)

    def _connect(self, deadline: float) -> "socket.socket":
        import socket

        failure: OSError | None = None
        for family, kind, number, _, address in socket.getaddrinfo(self._host.encode(), self._port, 0, 1):
            try:
                connection = socket.socket(family, kind, number)
            except OSError as error:
                failure = error
                continue
            try:
                connection.settimeout(_left(deadline))
                connection.connect(address)
                if self._context:
                    return self._context.wrap_socket(connection, server_hostname=self._host)
                return connection
            except OSError as error:
                connection.close()
                failure = error
        raise failure or OSError("no address")

    def _answer(self, connection: "socket.socket", deadline: float) -> "tuple[int, bytes]":
        text = b""
        while True:
            while b"\r\n\r\n" not in text:
                text += self._more(connection, deadline, text)
            head, _, body = text.partition(b"\r\n\r\n")
            version, _, rest = head.partition(b" ")
            if not version.startswith(b"HTTP/1"):
                raise OSError("it does not answer in HTTP")
            status = int(rest[:3])
            if status >= 200:
                break
            text = body  # of 100 Continue
        fields = [line.lower().replace(b" ", b"") for line in head.split(b"\r\n")[1:]]
        lengths = [int(field[15:]) for field in fields if field.startswith(b"content-length:")]
        while lengths and len(body) < lengths[0]:
            body += self._more(connection, deadline, body)
        if not lengths or b"connection:close" in fields or head.startswith(b"HTTP/1.0"):
            self._hang_up()
        return status, body

    def _more(self, connection: "socket.socket", deadline: float, so_far: bytes) -> bytes:
        connection.settimeout(_left(deadline))
        text = connection.recv(65536)
        if not text or len(so_far) > 1 << 20:
            raise OSError("the answer is cut" if so_far else "it hung up without an answer")
        return text

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _own_text(path: str) -> str:
    """Read a file that nobody else may read.

    Raises
    ------
    OSError
        It cannot be read, or others can.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise PermissionError("the file of credentials is open to others: chmod 600")
        return file.read()


def login_for(host: str, netrc: str) -> "tuple[str, str] | None":
    """Find user and password of a host in the text of a netrc file, or its default's."""
    found: dict[str, str] = {}
    inside = False
    words = iter(netrc.split())
    for word in words:
        if word == "machine":
            if inside:
                break
            inside = next(words, "") == host
        elif word == "default":
            if inside:
                break
            inside = True
        elif word in ("login", "password", "account"):
            value = next(words, "")
            if inside:
                found[word] = value
    return (found.get("login", ""), found.get("password", "")) if inside else None


def _publication(record: str) -> str:
    """Wrap a record, whose first field is the event's name, for RabbitMQ's management API."""
    return json(
        {
            "properties": {"content_type": "application/json", "delivery_mode": 2},
            "routing_key": record.split('"', 4)[3],
            "payload": _base64(record.encode()),
            "payload_encoding": "base64",
        }
    )


class Poster:
    """Posts the records in order from a thread of its own: nothing that an endpoint does holds up the job.

    What cannot be delivered is tried again when the next record comes; a full queue gives up its oldest.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import _thread

        self.io = ""
        self._endpoint = endpoint
        self._queue: list[str] = []
        self._lost = 0
        self._delivered = ""
        self._reason = ""
        self._patience = PATIENCE
        self._not_before = 0.0
        self._closing = False
        self._access, self._something, self._begun, self._done = [_thread.allocate_lock() for _ in range(4)]
        for lock in (self._something, self._begun, self._done):
            lock.acquire()
        _thread.start_new_thread(self._serve, ())
        self._begun.acquire(True, 1.0)

    @classmethod
    def start(cls, options: Options) -> "Poster | None":
        """Start the thread; None, and a problem told, when that cannot be."""
        try:
            return cls(Endpoint(options.online, options.credentials, options.ca))
        except (ValueError, RuntimeError) as error:
            options.note(f"online: {error}")
            return None

    def put(self, record: str) -> None:
        """Queue a record."""
        with self._access:
            self._queue.append(record)
            if len(self._queue) > QUEUE:
                del self._queue[0]
                self._lost += 1
        self._wake()

    def has_room(self) -> bool:
        """Whether there is room in the queue for what can be left out."""
        return len(self._queue) < QUEUE // 2

    def close(self, record: str, hurried: bool) -> bool:
        """Queue the last record and wait a moment for all to be delivered; whether that one was."""
        failing = self._patience > PATIENCE
        self.put(record)
        self._closing = True
        self._wake()
        self._done.acquire(True, HURRIED_WITHIN if hurried or failing else DELIVER_WITHIN)
        return self._delivered is record

    def problem(self) -> str:
        """Say what was not delivered and why; empty when all was."""
        missing = self._lost + len(self._queue)
        return f"online: {missing} records were not delivered: {self._reason or 'too slow'}" if missing else ""

    def _wake(self) -> None:
        try:
            self._something.release()
        except RuntimeError:
            return  # it is awake

    def _serve(self) -> None:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            self.io = _io_of_second_thread()
            self._begun.release()
            self._endpoint.prepare()
            closing = False
            while not closing:
                self._something.acquire()
                closing = self._closing
                self._deliver()
        except Exception as error:  # noqa: BLE001 - a thread's last words would go to the job's stderr
            self._reason = str(error) or repr(error)
        self._done.release()
        self._begun.acquire()
        self._begun.acquire()  # for ever: the I/O of a thread that has ended would be taken for the job's

    def _deliver(self) -> None:
        while self._queue and (self._closing or time.monotonic() >= self._not_before):
            record = self._queue[0]
            try:
                self._endpoint.post((_publication(record) if self._endpoint.wraps else record).encode())
            except RefusalError as refusal:
                self._reason = str(refusal)
                if not refusal.for_good:
                    return self._be_patient()
                self._lost += 1
            except (OSError, ValueError) as error:
                self._reason = str(error)
                return self._be_patient()
            else:
                self._delivered = record
                self._patience = PATIENCE
            self._drop(record)
        return None

    def _drop(self, record: str) -> None:
        with self._access:
            if self._queue and self._queue[0] is record:
                del self._queue[0]

    def _be_patient(self) -> None:
        self._not_before = time.monotonic() + self._patience
        self._patience = min(2 * self._patience, MOST_PATIENCE)


def _io_of_second_thread() -> str:
    """Find the I/O counters of the thread that is not the main one; /proc/thread-self came with Linux 3.17."""
    try:
        threads = [thread for thread in os.listdir("/proc/self/task") if int(thread) != os.getpid()]
    except OSError:
        threads = []
    return f"/proc/self/task/{threads[0]}/io" if threads else ""


# TCP connections.

NETLINK, SOCK_DIAG, CLOSE_ON_EXEC = 16, 4, 0o2000000
GET_SOCKETS, ENDED, DONE, FAILED = 18, 20, 3, 2  # TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY, NLMSG_DONE, NLMSG_ERROR
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
IPV4, IPV6 = 2, 10
ENOBUFS = 105
INFO, CONGESTION = 2, 4  # attributes of struct inet_diag_msg
ENDS_OF_TCP = 1 | 4  # the groups SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY
STATES = (
    *("", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait"),
    *("close", "close-wait", "last-ack", "listen", "closing"),
)  # by their number
ESTABLISHED, SYN_SENT, LISTEN = 1, 2, 10
FIN_SEEN = (8, 9, 11)  # close-wait, last-ack, closing
ALIVE = sum([1 << state for state in (1, 2, 4, 5, 8, 9, 11)])

# struct tcp_info of linux/tcp.h, to which kernels append: offset [bytes], format, name, divisor of its unit.
TCP_INFO = (
    (16, "I", "snd_mss", 0),
    (20, "I", "rcv_mss", 0),
    (24, "I", "unacked", 0),
    (28, "I", "sacked", 0),
    (32, "I", "lost", 0),
    (36, "I", "retrans", 0),
    (60, "I", "pmtu", 0),
    (68, "I", "rtt", 1e3),
    (72, "I", "rttvar", 1e3),
    (76, "I", "snd_ssthresh", 0),
    (80, "I", "snd_cwnd", 0),
    (88, "I", "reordering", 0),
    (92, "I", "rcv_rtt", 1e3),
    (96, "I", "rcv_space", 0),
    (100, "I", "total_retrans", 0),
    (104, "Q", "pacing_rate", 0),
    (120, "Q", "bytes_acked", 0),
    (128, "Q", "bytes_received", 0),
    (136, "I", "segs_out", 0),
    (140, "I", "segs_in", 0),
    (144, "I", "notsent_bytes", 0),
    (148, "I", "min_rtt", 1e3),
    (152, "I", "data_segs_in", 0),
    (156, "I", "data_segs_out", 0),
    (160, "Q", "delivery_rate", 0),
    (168, "Q", "busy_time", 1e6),
    (176, "Q", "rwnd_limited", 1e6),
    (184, "Q", "sndbuf_limited", 1e6),
    (200, "Q", "bytes_sent", 0),
    (208, "Q", "bytes_retrans", 0),
    (216, "I", "dsack_dups", 0),
    (220, "I", "reord_seen", 0),
    (224, "I", "rcv_ooopack", 0),
    (228, "I", "snd_wnd", 0),
    (240, "H", "total_rto", 0),
)
SIZES = {"I": 4, "Q": 8, "H": 2}
UNKNOWN_RATE = 2**64 - 1  # a pacing rate that nobody has set
UNKNOWN_TIME = 2**32 - 1  # a smallest round trip, before the first

# What Tstat counts as well, under its names: those of the end that sends, and of the end that receives.
SENT = {
    "bytes_sent": "bytes_all",
    "bytes_retrans": "bytes_retx",
    "segs_out": "pkts_all",
    "data_segs_out": "pkts_data",
    "total_retrans": "pkts_retx",
}
RECEIVED = {"segs_in": "pkts_all", "data_segs_in": "pkts_data", "rcv_ooopack": "pkts_ooo"}


def tcp_info(text: bytes) -> "dict[str, float]":
    """Read a struct tcp_info as far as this kernel has it: round trips in [ms], times in [s], rates in [bytes/s]."""
    import _struct

    found: dict[str, float] = {}
    for offset, form, name, unit in TCP_INFO:
        if offset + SIZES[form] > len(text):
            break
        value = _struct.unpack_from("=" + form, text, offset)[0]
        if (name, value) not in (("pacing_rate", UNKNOWN_RATE), ("min_rtt", UNKNOWN_TIME)):
            found[name] = value / unit if unit else value
    return found


def messages(text: bytes) -> "list[tuple[int, bytes]]":
    """Split a datagram of netlink(7) into pairs of type and content; what is cut off is left out."""
    import _struct

    found = []
    at = 0
    while at + 16 <= len(text):
        length, kind = _struct.unpack_from("=IH", text, at)
        if length < 16 or at + length > len(text):
            break
        found.append((kind, text[at + 16 : at + length]))
        at += (length + 3) & ~3
    return found


class Socket:
    """One TCP socket as the kernel tells of it: struct inet_diag_msg of linux/inet_diag.h with its attributes."""

    def __init__(self, text: bytes) -> None:
        """Read a message.

        Raises
        ------
        ValueError
            It is too short to be one.
        """
        import _struct

        if len(text) < 72:
            raise ValueError(f"a socket in {len(text)} bytes")
        self.family, self.state = text[0], text[1]
        self.local_port, self.remote_port = _struct.unpack_from(">HH", text, 4)
        self._addresses = text[8:40]
        self.cookie = text[44:52]
        self.inode = _struct.unpack_from("=I", text, 68)[0]
        self.info = self.congestion = b""
        at = 72
        while at + 4 <= len(text):
            length, kind = _struct.unpack_from("=HH", text, at)
            if length < 4:
                break
            if kind == INFO:
                self.info = text[at + 4 : at + length]
            elif kind == CONGESTION:
                self.congestion = text[at + 4 : at + length].rstrip(b"\0")
            at += (length + 3) & ~3

    def counters(self) -> "tuple[object, ...]":
        """Give what tells whether anything has happened since."""
        return (self.state, self.info[100:104], self.info[120:144])

    def addresses(self) -> "tuple[str, str]":
        """Give the local and the remote address; one of IPv4 is never written as one of IPv6."""
        return _address(self.family, self._addresses[:16]), _address(self.family, self._addresses[16:])


def _address(family: int, raw: bytes) -> str:
    from _socket import inet_ntop

    if family == IPV6 and raw[:12] == bytes(10) + b"\xff\xff":
        family, raw = IPV4, raw[12:]
    return inet_ntop(IPV6, raw) if family == IPV6 else inet_ntop(IPV4, raw[:4])


class Connection:
    """A connection of the job, with the newest that is known of it."""

    def __init__(self, socket: Socket, pid: int, listens: bool, now: float) -> None:
        self.cookie = socket.cookie
        self.pid = pid
        self.exe = _link(f"/proc/{pid}/exe")
        self.first = self.last = self.seen = now
        self.ended = self.final = False
        self.told_at = 0.0
        self.number = 0
        self.newest = socket
        self._congestion = socket.congestion
        self._told: object = None
        self._server = listens
        self._certain = "listening port" if listens else ""
        self._find_opener(socket)

    def take(self, socket: Socket, now: float) -> None:
        """Keep what a look has shown."""
        self.seen = now
        if socket.counters() != self.newest.counters():
            self.last = now
        self._congestion = socket.congestion or self._congestion
        self.newest = socket
        self._find_opener(socket)

    def end(self, socket: "Socket | None", now: float) -> None:
        """Keep the kernel's last word on it; None where there was none."""
        self.ended = True
        if socket and socket.info:
            self.final = True
            self.take(socket, now)

    def has_news(self) -> bool:
        return self.ended or self._told != self.newest.counters()

    def moved(self) -> int:
        """Give the bytes of both directions."""
        acked, received = self.newest.info[120:128], self.newest.info[128:136]
        return int.from_bytes(acked, sys.byteorder) + int.from_bytes(received, sys.byteorder)

    def _find_opener(self, socket: Socket) -> None:
        """Who opened it: to its opener alone the kernel counts the SYN among `bytes_acked` (tcp_ack in tcp_input.c)."""
        if self._certain or socket.state not in (ESTABLISHED, SYN_SENT):
            return
        values = tcp_info(socket.info)
        if socket.state == SYN_SENT:
            self._certain = "SYN"
        elif "bytes_retrans" in values and not values["unacked"]:
            extra = values["bytes_acked"] - values["bytes_sent"] + values["bytes_retrans"]
            if extra in (0, 1):
                self._server, self._certain = not extra, "SYN"

    def record(self) -> "dict[str, object]":
        """Tell it; `c_` is the end that opened the connection, `s_` the other, as in Tstat's logs."""
        self._told = self.newest.counters()
        here, there = ("s_", "c_") if self._server else ("c_", "s_")
        (local, remote), socket = self.newest.addresses(), self.newest
        record: dict[str, object] = {
            "event": "transfer.tcp",
            "ts": self.seen,
            "seq": self.number,
            "source": "tcp_info",
            "join": "socket",
            "confidence": 1,
            "final": self.final,
            "vantage": "server" if self._server else "client",
            "vantage_by": self._certain or "no listening port",
            here + "ip": local,
            here + "port": socket.local_port,
            there + "ip": remote,
            there + "port": socket.remote_port,
            "loopback": local == remote or local.startswith("127.") or local == "::1",
            "socket_id": int.from_bytes(self.cookie, sys.byteorder),
            "socket_pid": self.pid,
            "socket_exe": self.exe,
            "state": STATES[socket.state] if socket.state < len(STATES) else str(socket.state),
            "congestion": self._congestion.decode("ascii", "replace"),
            "first": self.first,
            "last": self.last,
        }
        record.update(_as_tstat(tcp_info(socket.info), socket.state in FIN_SEEN, here, there))
        return record


def _as_tstat(values: "dict[str, float]", fin: bool, here: str, there: str) -> "dict[str, object]":
    """Name what Tstat counts as well as Tstat does; to the kernel a `fin` that came is one byte of `bytes_received`."""
    record: dict[str, object] = {}
    if "bytes_retrans" in values:
        record[here + "bytes_uniq"] = values["bytes_sent"] - values["bytes_retrans"]
    if "bytes_received" in values:
        record[there + "bytes_uniq"] = max(0, values["bytes_received"] - fin)
    for name, value in values.items():
        if name in SENT:
            record[here + SENT[name]] = value
        elif name in RECEIVED:
            record[there + RECEIVED[name]] = value
        else:
            record[name] = value
    return record


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


class Connections:
    """Follows the TCP connections of the tree through sock_diag(7): no rights are needed, and nothing touches the job.

    A look asks the kernel for all sockets of the network namespace, and only when there are new ones in /proc for whose
    they are. The kernel also tells of each socket that ends, with its last counters; what was seen once is so known to
    its last byte, even when it drains after the job has closed it.
    """

    def __init__(self, options: Options, tree: Tree) -> None:
        self.look_at = 0.0
        self._note = options.note
        self._tree = tree
        self._mine: dict[bytes, Connection] = {}
        self._done: list[Connection] = []
        self._foreign: set[bytes] = set()
        self._listening: set[int] = set()
        self._namespace = _link("/proc/self/ns/net")
        self._told = 0
        self._silent = 0
        self._asking = self._open(0)
        self._ends = self._open(ENDS_OF_TCP) if self._asking else None
        if self._asking:
            self._guarded(self._learn_listening)

    def _open(self, groups: int) -> "socket.socket | None":
        try:
            import _socket

            opened = _socket.socket(NETLINK, 3 | CLOSE_ON_EXEC, SOCK_DIAG)
            opened.bind((0, groups))
            opened.settimeout(0.0 if groups else 1.0)
        except (ImportError, OSError) as error:
            self._note(f"TCP: {'the ends of connections are' if groups else 'connections are'} not seen: {error}")
            return None
        return opened  # type: ignore[return-value]

    def look(self, at_the_end: bool = False) -> None:
        """Bring all up to now. It costs no more than its share of a core: the next look comes the later for it."""
        begun = _own_cpu()
        if self._asking:
            self._guarded(self._ask_and_hear, at_the_end)
        pause = max(LOOK_AT_CONNECTIONS, (_own_cpu() - begun) / LOOKING_SHARE) if self._asking else 1e6
        self.look_at = time.monotonic() + pause

    def end(self) -> None:
        """Look for the last time."""
        self.look(at_the_end=True)
        for cookie in list(self._mine):
            self._finish(cookie, None, time.time())
        if self._silent:
            self._note(f"TCP: {self._silent} connections beyond {MOST_ENDED} are not told of")

    def news(self, most: int) -> "list[Connection]":
        """Give what has ended, and of what lives and has changed those told longest ago."""
        ended, self._done = self._done, []
        changed = [connection for connection in self._mine.values() if connection.has_news()]
        changed.sort(key=lambda connection: connection.told_at)
        for connection in ended + changed[:most]:
            connection.told_at = connection.seen
            connection.number = self._told
            self._told += 1
        return ended + changed[:most]

    def _guarded(self, act: "Callable[..., None]", *what: object) -> None:
        try:
            act(*what)
        except (OSError, ValueError, LookupError) as error:
            self._note(f"TCP: connections are not seen: {error}")
            self._asking = None

    def _ask_and_hear(self, at_the_end: bool) -> None:
        now = time.time()
        found: dict[bytes, Socket] = {}
        foreign = set()
        for text in self._ask(ALIVE, 1 << (INFO - 1) | 1 << (CONGESTION - 1)):
            if text[44:52] in self._foreign:
                foreign.add(text[44:52])
            else:
                found[text[44:52]] = Socket(text)
        self._foreign = foreign
        self._adopt([socket for cookie, socket in found.items() if socket.inode and cookie not in self._mine], now)
        for cookie, socket in found.items():
            if cookie in self._mine and socket.info:
                self._mine[cookie].take(socket, now)
        self._hear(now)
        gone = [cookie for cookie in self._mine if cookie not in found]
        if at_the_end and gone and self._ends:
            self._ends.settimeout(ENDS_WITHIN)
            self._hear(now, lambda: any(cookie in self._mine for cookie in gone))
        for cookie in gone:
            if cookie in self._mine and self._mine[cookie].seen < now - LOOK_AT_CONNECTIONS:
                self._finish(cookie, None, now)

    def _adopt(self, new: "list[Socket]", now: float) -> None:
        if not new or self._is_full():
            return
        owners = self._owners()
        self._learn_listening()
        for socket in new:
            if socket.inode not in owners:
                self._foreign.add(socket.cookie)
            elif not self._is_full():
                listens = socket.local_port in self._listening
                self._mine[socket.cookie] = Connection(socket, owners[socket.inode], listens, now)

    def _is_full(self) -> bool:
        full = len(self._mine) >= MOST_CONNECTIONS
        if full:
            self._note(f"TCP: {MOST_CONNECTIONS} connections are followed at a time, what else begins then is not seen")
        return full

    def _owners(self) -> "dict[int, int]":
        """Find which process has which socket, by inode."""
        owners: dict[int, int] = {}
        for process in self._tree.walk().values():
            if process.alive:
                try:
                    self._add_sockets(process.pid, owners)
                except PermissionError:
                    self._note("TCP: connections of a process with another user or more rights are not seen")
                except OSError:
                    continue  # it has ended
        return owners

    def _add_sockets(self, pid: int, owners: "dict[int, int]") -> None:
        folder = f"/proc/{pid}/fd/"
        names = os.listdir(folder)
        if _link(f"/proc/{pid}/ns/net") != self._namespace:
            self._note("TCP: connections of a process in another network namespace are not seen")
        if len(names) > MOST_FILES:
            self._note(f"TCP: only {MOST_FILES} of the open files of a process are looked through")
        for name in names[:MOST_FILES]:
            target = _link(folder + name)
            if target.startswith("socket:["):
                owners.setdefault(int(target[8:-1]), pid)

    def _learn_listening(self) -> None:
        for text in self._ask(1 << LISTEN, 0):
            self._listening.add(Socket(text).local_port)

    def _ask(self, states: int, attributes: int) -> "list[bytes]":
        """Ask with the older of the two requests: it walks the kernel's table once for IPv4 and IPv6 together."""
        import _struct

        assert self._asking
        found: list[bytes] = []
        asked = _struct.pack("=BBBB48xII", 0, 0, 0, attributes, states, 0)
        self._asking.send(_struct.pack("=IHHII", 16 + len(asked), GET_SOCKETS, DUMP, 0, 0) + asked)
        while True:
            for kind, text in messages(self._asking.recv(65536)):
                if kind == FAILED:
                    number = -_struct.unpack_from("=i", text)[0] if len(text) >= 4 else 0
                    raise OSError(number, os.strerror(number))
                if kind == DONE:
                    return found
                if kind == GET_SOCKETS:
                    found.append(text)

    def _hear(self, now: float, more: "Callable[[], bool]" = lambda: True) -> None:
        """Take the kernel's words on what has ended, as long as there are any and `more` are waited for."""
        for _ in range(MOST_HEARD):
            if not self._ends or not more():
                return
            try:
                text = self._ends.recv(65536)
            except OSError as error:
                if error.errno == ENOBUFS:  # too many have ended since: those have no last word
                    continue
                return
            for kind, content in messages(text):
                if kind == ENDED and content[44:52] in self._mine:
                    self._finish(content[44:52], Socket(content), now)

    def _finish(self, cookie: bytes, socket: "Socket | None", now: float) -> None:
        connection = self._mine.pop(cookie)
        connection.end(socket, now)
        if self._told + len(self._done) < MOST_ENDED:
            self._done.append(connection)
        else:
            self._silent += 1


def _own_cpu() -> float:
    return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)


# The task.


class Task:
    """The command as a child in a process group of its own.

    Where our group is the foreground of the terminal at stdin, the task stays in it: the terminal then interrupts,
    stops and continues the two together, and the shell's job control works as without a probe.
    """

    def __init__(self, command: "list[str]", own_group: bool, more: "dict[str, str] | None" = None) -> None:
        self.own_group = own_group
        self._environment = more or {}
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
            os.environ.update(self._environment)
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
    """Write a line to stderr, if there is one and it takes it."""
    try:
        with AtMost(SAY_WITHIN):
            os.write(2, f"panorama_probe: {text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        return


class AtMost:
    """Breaks off with an alarm what a full pipe or a lost file server holds up.

    The stream itself must keep its mode: others write to it as well.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, self.seconds, 0.1)  # again: the first may come just before the call

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if self._before is None else self._before)

    def _ring(self, *_: object) -> None:
        raise TimeoutError(f"not taken within {self.seconds:g} s")


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
        darshan = Darshan.prepare(options, environment) if options.darshan else None
        try:
            self.task = Task(options.command, not on_terminal, darshan.environment if darshan else None)
        except OSError:
            if darshan:
                darshan.remove()
            raise
        payload = Payload(options, environment) if options.payload else None
        _let_go_of_stdio()
        self.tree = Tree(options)
        self.ledger = Ledger(self.tree, self.task.before)
        if options.records():
            self.recorder = Recorder(options, self.task, self.ledger, identity(environment), payload, darshan)
            self.begun = self.sample_at = time.monotonic()

    def run(self) -> int:
        """See the command to its end and return its wait status."""
        self._guarded(self._act_on_time)
        while not self._finished():
            self._guarded(self._turn)
        self._guarded(self._finish)
        for problem in self.options.problems[self.recorder.told if self.recorder else 0 :]:
            say(problem)
        return self.task.status or 0

    def _finish(self) -> None:
        if self.recorder:
            self.recorder.finish(self.told_to_end)

    def _secure(self) -> None:
        if self.recorder:
            self.recorder.secure()

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
        if self.recorder and self.recorder.connections:
            moments.append(self.recorder.connections.look_at)
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
        elif self.recorder and self.recorder.connections and now >= self.recorder.connections.look_at:
            self.recorder.connections.look()

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
        if number == signal.SIGTERM:
            self._guarded(self._secure)
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
    """Hold no end of the job's pipes: the others shall see them close when the job closes them.

    A stderr that was closed is /dev/null from now on: a trace opened in its place would get what is said there.
    """
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        if not _is_open(2):
            os.dup2(nothing, 2)
        if nothing > 2:
            os.close(nothing)
    except OSError:
        return


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


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


def _hide_password(environment: "dict[str, str]") -> None:
    """Take user and password out of the URL that the job sees, with all that cannot be told from them."""
    scheme, mark, rest = environment.get("KICKSTART_MON_URL", "").partition("://")
    if "@" in rest and scheme != "file":
        os.environ["KICKSTART_MON_URL"] = scheme + mark + rest.rpartition("@")[2]


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
    _hide_password(environment)
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
