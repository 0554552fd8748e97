"""Stand-in for pegasus-kickstart: runs a task and writes the invocation record, with the real one's keys and limits.

A program of its own that needs the standard library only; it is started by path, in the job's environment.
Format of the record: invocation schema 3.0, as pegasus-kickstart 5.1.3 writes it.
"""

from __future__ import annotations

import grp
import hashlib
import os
import platform
import pwd
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUFFER = 262_144
"""How much of a stream the record keeps, from its end [bytes]; option -B."""
NO_PROGRAM = 127
_FLAGS = "qcHfFVhtz"
_VALUES = "BeiIlLnNoRSsTwWXkK"


class RefusedError(Exception):
    """The command line cannot be used: the record has no task then."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


class Options:
    """The command line; what is not an option of the real one begins the task's words, as there."""

    def __init__(self) -> None:
        self.value: dict[str, str] = {}
        self.before: list[tuple[str, str]] = []
        self.after: list[tuple[str, str]] = []
        self.task: list[str] = []

    def read(self, words: list[str]) -> None:
        """Take the words of the command line.

        Raises
        ------
        RefusedError
            An option has no value, or not a number where there should be one.
        """
        while words and len(words[0]) == 2 and words[0][0] == "-" and words[0][1] in _FLAGS + _VALUES:
            letter = words.pop(0)[1]
            if letter in _FLAGS:
                continue
            if not words:
                raise RefusedError(f"ERROR: option -{letter} has no value", NO_PROGRAM)
            self._take(letter, words.pop(0))
        self.task = words

    def _take(self, letter: str, value: str) -> None:
        if letter == "S":
            self.before += _file_list(value)
        elif letter == "s":
            self.after += _file_list(value)
        elif letter in "BkK" and not value.isdigit():
            raise RefusedError(f"ERROR: Invalid -{letter} argument: {value}", NO_PROGRAM)
        else:
            self.value[letter] = value

    def number(self, letter: str, default: int = 0) -> int:
        return int(self.value.get(letter, default))


def _file_list(word: str) -> list[tuple[str, str]]:
    word = os.path.expandvars(word)
    lines = Path(word[1:]).read_text().splitlines() if word.startswith("@") else [word]
    pairs = [line.partition("=") for line in lines if line.strip()]
    return [(lfn, pfn or lfn) for lfn, _, pfn in pairs]


class Ended:
    """How a process ended.

    Parameters
    ----------
    start, duration : float
        When it began [s since 1970], how long it took [s].
    pid : int
    status : int
        Wait status, -127 if it could not be started.
    usage : resource.struct_rusage or None
    words : list of str
        Its command line.
    """

    def __init__(
        self, start: float, duration: float, pid: int, status: int, usage: Any, words: list[str], error: int = 0
    ) -> None:
        self.start, self.duration, self.pid, self.status = start, duration, pid, status
        self.usage, self.words, self.error = usage, words, error


class Alarm:
    """Option -k and -K: SIGTERM to the task after some time, SIGKILL some time later."""

    rang = False

    def __init__(self, term: int, kill: int) -> None:
        self.kill, self.pid = kill, 0
        if term:
            signal.signal(signal.SIGALRM, self._ring)
            signal.alarm(term)

    def _ring(self, number: int, frame: object) -> None:
        first = not self.rang
        self.rang = True
        print(f"Job timed out, sending {'SIGTERM' if first else 'SIGKILL'}", file=sys.stderr, flush=True)
        if self.pid:
            os.kill(self.pid, signal.SIGTERM if first else signal.SIGKILL)
        if first and self.kill:
            signal.alarm(self.kill)


def run(words: list[str], alarm: Alarm, streams: tuple[int, int, int] | None) -> Ended:
    """Run one process with these streams, and wait for it."""
    start = time.time()
    program = find(words[0])
    if program is None:
        return Ended(0.0, 0.003, 0, -127, None, words, error=2)
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            for number, stream in enumerate(streams or ()):
                os.dup2(stream, number)
            os.execv(program, words)
        finally:
            os._exit(NO_PROGRAM)
    alarm.pid = pid
    _, status, usage = os.wait4(pid, 0)
    alarm.pid = 0
    return Ended(start, time.time() - start, pid, status, usage, words)


def find(word: str) -> str | None:
    """The program that a word means: as a path, else on PATH; without a PATH nothing is found."""
    if "/" in word:
        return word if os.access(word, os.X_OK) and not os.path.isdir(word) else None
    if "PATH" not in os.environ:
        print("kickstart: PATH not set", file=sys.stderr)
        return None
    return shutil.which(word, path=os.environ["PATH"])


def side_job(kind: str, alarm: Alarm) -> Ended | None:
    """Run what KICKSTART_SETUP, _PREJOB, _POSTJOB or _CLEANUP says (or the same with GRIDSTART)."""
    text = os.environ.get(f"KICKSTART_{kind}") or os.environ.get(f"GRIDSTART_{kind}") or ""
    return run(text.split(), alarm, None) if text.split() else None


def expand(word: str) -> str:
    """Do with a word of the task what the real one does: variables and backslashes, except between apostrophes.

    Raises
    ------
    RefusedError
        A variable is not set, or an apostrophe or a quote has no partner.
    """
    out, at = "", 0
    quoted = False
    while at < len(word):
        letter = word[at]
        if letter == "'" and not quoted:
            end = word.find("'", at + 1)
            if end < 0:
                raise _refusal("Error 1: missing closing apostrophe")
            out, at = out + word[at : end + 1], end + 1
        elif letter == "\\":
            if at + 1 == len(word):
                raise _refusal("Error 5: premature end of string")
            out, at = out + word[at + (not quoted) : at + 2], at + 2
        elif letter == "$":
            value, at = _variable(word, at)
            out += value
        else:
            quoted ^= letter == '"'
            out, at = out + letter, at + 1
    if quoted:
        raise _refusal("Error 2: missing closing quote")
    return out


def _variable(word: str, at: int) -> tuple[str, int]:
    match = re.compile(r"\$(\{?)(\w+)(\}?)", re.ASCII).match(word, at)
    if match is None:
        raise _refusal("Error 3: illegal variable name")
    if match[1] and not match[3]:
        raise _refusal("Error 4: missing closing brace")
    if match[2] not in os.environ:
        raise RefusedError(f"kickstart[{os.getpid()}]: parse.c[95]: ERROR: Variable ${match[2]} does not exist")
    return os.environ[match[2]], match.end() - (bool(match[3]) and not match[1])


def _refusal(why: str) -> RefusedError:
    return RefusedError(f"kickstart[{os.getpid()}]: parse.c[364]: Error parsing arguments: {why}")


def code_of(status: int) -> int:
    """The exit code that stands for a wait status."""
    if status < 0:
        return NO_PROGRAM
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


class Stream:
    """Where a stream of the task goes: a file of the user's, or a temporary one whose end the record shows."""

    def __init__(self, name: str, target: str | None, descriptor: int) -> None:
        self.name, self.descriptor = name, descriptor
        self.named = target is not None and target != "-"
        self.path = target if self.named else None
        if self.named:
            flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if str(target).startswith("+") else os.O_TRUNC)
            self.path = str(target).lstrip("+!")
            self.handle = os.open(self.path, flags, 0o644)
        else:
            prefix = {"stdout": "ks.out.", "stderr": "ks.err.", "metadata": "ks.meta."}[name]
            self.handle, self.path = tempfile.mkstemp(prefix=prefix)

    def lines(self, keep: int) -> Iterator[str]:
        path = str(self.path)
        yield f"    {self.name}:"
        if self.named:
            yield f"      file_name: {os.path.abspath(path)}"
            yield from _stat(path)
            return
        yield f"      temporary_name: {path}"
        yield f"      descriptor: {self.descriptor}"
        yield from _stat(path)
        size = os.path.getsize(path)
        if size and keep:
            with open(path, "rb") as file:
                file.seek(max(0, size - keep))
                yield f"      data_truncated: {'true' if size > keep else 'false'}"
                yield "      data: |"
                yield from _block(file.read())

    def remove(self) -> None:
        if not self.named:
            os.unlink(str(self.path))


def _block(data: bytes) -> Iterator[str]:
    """Text as a YAML block: control characters would break it, so they are left out."""
    text = data.decode("utf-8", "replace")
    clean = "".join(letter for letter in text.replace("\r", "\n") if letter >= " " or letter in "\t\n")
    return ("        " + line for line in clean.split("\n"))


def _stamp(when: float, digits: int = 3) -> str:
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))
    fraction = f".{int(when % 1 * 1000):03d}" if digits else ""
    zone = time.strftime("%z", time.localtime(when))
    return f"{text}{fraction}{zone[:3]}:{zone[3:]}"


def _stat(path: str) -> Iterator[str]:
    try:
        info = os.stat(path)
    except OSError as problem:
        yield f"      error: {problem.errno}"
        return
    yield f"      mode: 0o{info.st_mode:o}"
    yield f"      size: {info.st_size}"
    yield f"      inode: {info.st_ino}"
    yield f"      nlink: {info.st_nlink}"
    yield f"      blksize: {info.st_blksize}"
    yield f"      blocks: {info.st_blocks}"
    yield from (f"      {kind}time: {_stamp(getattr(info, f'st_{kind}time'), 0)}" for kind in "mac")
    yield from _owner(info.st_uid, info.st_gid, "      ")


def _owner(uid: int, gid: int, indent: str) -> Iterator[str]:
    yield f"{indent}uid: {uid}"
    yield f"{indent}user: {user_name(uid)}"
    yield f"{indent}gid: {gid}"
    yield f"{indent}group: {_group_name(gid)}"


def user_name(uid: int) -> str:
    """The name of a user, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _usage(usage: Any, indent: str) -> Iterator[str]:
    names = ["maxrss", "minflt", "majflt", "nswap", "inblock", "oublock", "msgsnd", "msgrcv", "nsignals"]
    names += ["nvcsw", "nivcsw"]
    yield f"{indent}usage:"
    yield f"{indent}  utime: {usage.ru_utime if usage else 0:.3f}"
    yield f"{indent}  stime: {usage.ru_stime if usage else 0:.3f}"
    for name in names:
        label = "outblock" if name == "oublock" else name
        yield f"{indent}  {label}: {getattr(usage, f'ru_{name}') if usage else 0}"


def _job(name: str, ended: Ended) -> Iterator[str]:
    yield f"  {name}:"
    yield f"    start: {_stamp(ended.start)}"
    yield f"    duration: {ended.duration:.3f}"
    if ended.pid:
        yield f"    pid: {ended.pid}"
    yield from _usage(ended.usage, "    ")
    yield "    status:"
    yield f"      raw: {ended.status}"
    if ended.status < 0:
        yield f"      failure_error: {ended.error}   {os.strerror(ended.error)}"
    elif os.WIFEXITED(ended.status):
        yield f"      regular_exitcode: {os.WEXITSTATUS(ended.status)}"
    else:
        number = os.WTERMSIG(ended.status)
        yield f"      signalled_signal: {number}"
        yield f'      singalled_name: "{signal.strsignal(number)}"'  # the real one's spelling
        yield f"      corefile: {'true' if os.WCOREDUMP(ended.status) else 'false'}"
    program = find(ended.words[0]) if not ended.error else None
    yield "    executable:"
    if program is None:
        yield f"      error: {ended.error}"
        yield f"      file_name: {ended.words[0]}"
    else:
        yield f"      file_name: {os.path.realpath(program)}"
        yield from _stat(program)
    yield "    argument_vector:"
    yield from (f'      - "{_escaped(word)}"' for word in ended.words[1:])
    yield "    procs:"


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _machine() -> Iterator[str]:
    system = platform.uname()
    memory = {line.split(":")[0]: line.split()[1] for line in _lines("/proc/meminfo")}
    cpu = dict(_pair(line) for line in _lines("/proc/cpuinfo"))
    load = os.getloadavg()
    yield "  machine:"
    yield f"    page-size: {os.sysconf('SC_PAGE_SIZE')}"
    yield f"    uname_system: {system.system.lower()}"
    yield f"    uname_nodename: {system.node}"
    yield f"    uname_release: {system.release}"
    yield f"    uname_machine: {system.machine}"
    for label, key in (
        ("ram_total", "MemTotal"),
        ("ram_free", "MemFree"),
        ("ram_shared", "Shmem"),
        ("ram_buffer", "Buffers"),
    ):
        yield f"    {label}: {memory.get(key, 0)}"
    yield f"    swap_total: {memory.get('SwapTotal', 0)}"
    yield f"    swap_free: {memory.get('SwapFree', 0)}"
    yield f"    cpu_count: {os.sysconf('SC_NPROCESSORS_ONLN')}"
    yield f"    cpu_speed: {float(cpu.get('cpu MHz', 0)):.0f}"
    yield f"    cpu_vendor: {cpu.get('vendor_id', '')}"
    yield f"    cpu_model: {cpu.get('model name', '')}"
    yield from (f"    load_min{minutes}: {value:.2f}" for minutes, value in zip((1, 5, 15), load, strict=True))
    yield from _processes()


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line for line in file.read().splitlines() if line]


def _processes() -> Iterator[str]:
    """Processes and threads by state; a process's threads are counted under the state of the process."""
    words = {"R": "running", "S": "sleeping", "D": "waiting", "T": "stopped", "Z": "zombie"}
    processes: dict[str, int] = {}
    threads: dict[str, int] = {}
    size = pages = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        state = words.get(fields[0], "other")
        processes[state] = processes.get(state, 0) + 1
        threads[state] = threads.get(state, 0) + int(fields[17])
        size += int(fields[20]) // 1024
        pages += int(fields[21])
    for kind, count in (("procs", processes), ("task", threads)):
        yield f"    {kind}_total: {sum(count.values())}"
        yield from (f"    {kind}_{state}: {count[state]}" for state in (*words.values(), "other") if state in count)
        if kind == "procs":
            yield f"    procs_vmsize: {size}"
            yield f"    procs_rss: {pages * os.sysconf('SC_PAGE_SIZE') // 1024}"


def _file(lfn: str, pfn: str, output: bool) -> Iterator[str]:
    yield f"    {lfn}:"
    yield f'      lfn: "{lfn}"'
    yield f"      file_name: {os.path.abspath(pfn)}"
    yield from _stat(pfn)
    if output:
        yield "      output: True"
        if os.path.isfile(pfn):
            with open(pfn, "rb") as file:
                yield f"      sha256: {hashlib.file_digest(file, 'sha256').hexdigest()}"
            yield "      checksum_timing: 0.00"


def _standard_input(path: str | None) -> Iterator[str]:
    yield "    stdin:"
    if path == "-":
        yield "      descriptor_number: 0"
        yield from _stat("/dev/fd/0")
    else:
        yield f"      file_name: {os.path.abspath(path) if path else '/dev/null'}"
        yield from _stat(path or "/dev/null")


def _limits() -> Iterator[str]:
    names = {
        "CPU": "RLIMIT_CPU", "FSIZE": "RLIMIT_FSIZE", "DATA": "RLIMIT_DATA", "STACK": "RLIMIT_STACK",
        "CORE": "RLIMIT_CORE", "RSS": "RESOURCE_5", "NPROC": "RLIMIT_NPROC", "NOFILE": "RLIMIT_NOFILE",
        "MEMLOCK": "RLIMIT_MEMLOCK", "AS": "RLIMIT_AS", "SIGPENDING": "RLIMIT_SIGPENDING",
        "MSGQUEUE": "RLIMIT_MSGQUEUE", "NICE": "RLIMIT_NICE", "RTPRIO": "RLIMIT_RTPRIO",
    }  # fmt: skip
    yield "  limits:"
    for name, label in names.items():
        for side, value in zip(("soft", "hard"), resource.getrlimit(getattr(resource, f"RLIMIT_{name}")), strict=True):
            yield f"    {label}_{side}: {'unlimited' if value == resource.RLIM_INFINITY else value}"


def _identity(options: Options, start: float) -> Iterator[str]:
    yield "- invocation: True"
    yield "  version: 3.0"
    yield f"  start: {_stamp(start)}"
    yield f"  duration: {time.time() - start:.3f}"
    names = {"n": 'transformation: "{}"', "N": 'derivation: "{}"', "R": 'resource: "{}"', "L": 'wf-label: "{}"'}
    for letter, form in (names | {"T": 'wf-stamp: "{}"'}).items():
        if letter in options.value:
            yield "  " + form.format(options.value[letter])
    yield "  interface: lo"
    yield "  hostaddr: 127.0.0.1"
    yield f"  pid: {os.getpid()}"
    yield from _owner(os.getuid(), os.getgid(), "  ")
    mask = os.umask(0)
    os.umask(mask)
    yield f"  umask: 0o{mask:04o}"


def record(options: Options, start: float, jobs: dict[str, Ended], streams: list[Stream]) -> Iterator[str]:
    """The lines of the invocation record; a task that failed has more of them."""
    main = jobs.get("mainjob")
    started = main is not None and main.status >= 0
    yield from _identity(options, start)
    for name in ("setup", "prejob", "mainjob", "postjob", "cleanup"):
        if name in jobs:
            yield from _job(name, jobs[name])
    yield "  jobids:"
    if "CONDOR_JOBID" in os.environ:
        yield f"    condor: {os.environ['CONDOR_JOBID']}"
    yield f"  cwd: {os.getcwd() if started else ''}"
    yield from _usage(resource.getrusage(resource.RUSAGE_SELF), "  ")
    yield from _machine()
    yield "  files:"
    for lfn, pfn in options.before if started else ():
        yield from _file(lfn, pfn, output=False)
    for lfn, pfn in options.after if started else ():
        yield from _file(lfn, pfn, output=True)
    yield from _standard_input(options.value.get("i"))
    for stream in streams:
        yield from stream.lines(options.number("B", BUFFER) if stream.name != "metadata" else 0)
    if main is None or main.status:
        yield from _more()


def _more() -> Iterator[str]:
    yield "    kickstart:"
    yield "      error: 2"
    yield "      note: ignore error - it is just a warning"
    yield "      file_name: pegasus-kickstart"
    yield "    logfile:"
    yield "      descriptor_number: 1"
    yield from _stat("/dev/fd/1")
    yield "  environment:"
    yield from (f'    "{key}": "{_escaped(value)}"' for key, value in sorted(os.environ.items()))
    yield from _limits()


def main(words: list[str]) -> int:
    """Run the task that the command line names; gives its exit code, 14 if it ran out of time."""
    start = time.time()
    options = Options()
    jobs: dict[str, Ended] = {}
    streams: list[Stream] = []
    try:
        options.read(words)
        task = [expand(word) for word in os.environ.get("KICKSTART_WRAPPER", "").split() + options.task]
        if not task:
            raise RefusedError("kickstart: no program to run", NO_PROGRAM)
        _enter(options)
        streams = _streams(options)
        os.environ["KICKSTART_METADATA"] = str(streams[-1].path)
        source = options.value.get("i")
        stdin = 0 if source == "-" else os.open(source or "/dev/null", os.O_RDONLY)
        alarm = Alarm(options.number("k"), options.number("K"))
        result = _run_all(task, alarm, (stdin, streams[0].handle, streams[1].handle), jobs)
    except RefusedError as refused:
        print(refused, file=sys.stderr)
        options.value = {letter: value for letter, value in options.value.items() if letter not in "ioe"}
        streams = _streams(options)
        result = refused.code
    text = "\n".join(record(options, start, jobs, streams)) + "\n"
    log = options.value.get("l")
    with open(log, "a", encoding="utf-8") if log else sys.stdout as out:
        out.write(text)
    for stream in streams:
        stream.remove()
    return result


def _streams(options: Options) -> list[Stream]:
    names = (("stdout", "o"), ("stderr", "e"), ("metadata", ""))
    return [Stream(name, options.value.get(letter), number) for number, (name, letter) in enumerate(names, 3)]


def _enter(options: Options) -> None:
    """Go to the directory that -w or -W names; -W makes it."""
    directory = options.value.get("w") or options.value.get("W")
    if directory:
        if "W" in options.value:
            os.makedirs(directory, exist_ok=True)
        os.chdir(directory)


def _run_all(task: list[str], alarm: Alarm, streams: tuple[int, int, int], jobs: dict[str, Ended]) -> int:
    """Run the task and what goes around it, into `jobs`; gives the exit code."""
    if find(task[0]) is None:
        print("kickstart: FATAL: Unable to execute the specified binary. It might not exist, have the correct"
              " permissions, or be of the right type for the current system.", file=sys.stderr)  # fmt: skip
        jobs["mainjob"] = run(task, alarm, None)
        return NO_PROGRAM
    for name in ("setup", "prejob"):
        if (ended := side_job(name.upper(), alarm)) is not None:
            jobs[name] = ended
    result = code_of(jobs["prejob"].status) if "prejob" in jobs else 0
    if result == 0 and not alarm.rang:
        jobs["mainjob"] = run(task, alarm, streams)
        result = code_of(jobs["mainjob"].status)
    if result == 0 and not alarm.rang and (ended := side_job("POSTJOB", alarm)) is not None:
        jobs["postjob"] = ended
        result = code_of(ended.status)
    signal.alarm(0)
    if (ended := side_job("CLEANUP", alarm)) is not None:
        jobs["cleanup"] = ended
    return signal.SIGALRM if alarm.rang else result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
