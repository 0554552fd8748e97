"""Nothing of a job lives on when it was told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

STRAY = """
import _signal, os, sys
def ignore_term():
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
read, ready = os.pipe()
stray = os.fork()
if stray == 0:
    os.setsid()
    if "stubborn" in sys.argv: ignore_term()
    os.write(ready, b".")
    os.execvp("sleep", ["sleep", "300"])
os.read(read, 1)
if "stubborn" in sys.argv: ignore_term()
os.write(1, b"%d %d %d\\n" % (os.getppid(), os.getpid(), stray))
if "leave" in sys.argv: os._exit(6)
os.wait()
"""
LISTENS_BEFORE_A_CHILD = """
import _signal, os
if os.fork() == 0: os.read(0, 1); os._exit(12)
_signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGUSR1])
os.write(1, b"ready")
_signal.sigwait([_signal.SIGUSR1])
os.write(1, b"heard")
os._exit(os.wait()[1] >> 8)
"""
STARTS = "import subprocess, sys, signal; subprocess.Popen(sys.argv[1:]); signal.pause()"
STARTS_IN_A_THREAD = """
import subprocess, sys, threading
jobs = []
thread = threading.Thread(target=lambda: jobs.append(subprocess.Popen(sys.argv[1:])))
thread.start(); thread.join()
sys.exit(jobs[0].wait())
"""
WITHOUT_CTYPES = "import sys, runpy; sys.modules['_ctypes'] = None; sys.argv = sys.argv[1:]; "
WITHOUT_CTYPES += "runpy.run_path(sys.argv[0], run_name='__main__')"


def pids_of(job: subprocess.Popen[bytes]) -> list[int]:
    """Read the pids of probe, task and stray."""
    assert job.stdout is not None
    return [int(word) for word in job.stdout.readline().split()]


@pytest.mark.parametrize("temper", ["meek", "stubborn"])
def test_kill_9_of_the_parent_leaves_nothing(probe: Any, started: Any, gone: Any, temper: str) -> None:
    words = probe.words(*probe.python(STRAY, temper), options=("--die-with-parent", "--kill-after", "0.2"))
    parent = started(subprocess.Popen([sys.executable, "-c", STARTS, *words], stdout=subprocess.PIPE))
    watched = [gone.watch(pid) for pid in pids_of(parent)]
    parent.kill()
    assert gone.within(10, *watched)
    assert any("died" in problem for problem in probe.last()["problems"])


def test_kill_9_of_the_parent_is_seen_without_ctypes(probe: Any, started: Any, gone: Any) -> None:
    words = probe.words(*probe.python(STRAY), options=("--die-with-parent",))
    words[1:2] = ["-c", WITHOUT_CTYPES]
    parent = started(subprocess.Popen([sys.executable, "-c", STARTS, *words], stdout=subprocess.PIPE))
    watched = [gone.watch(pid) for pid in pids_of(parent)]
    parent.kill()
    assert gone.within(10, *watched)


def test_the_end_of_the_thread_that_started_the_probe_ends_nothing(probe: Any, started: Any) -> None:
    words = probe.words("sh", "-c", "echo up; read line; exit 8", options=("--die-with-parent",))
    parent = started(
        subprocess.Popen(
            [sys.executable, "-c", STARTS_IN_A_THREAD, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    )
    assert parent.stdout.readline() == b"up\n"
    parent.communicate(b"\n")
    assert parent.returncode == 8


def test_a_parent_that_had_gone_before_the_start_gets_no_job(probe: Any) -> None:
    done = probe.run("echo", "ran", options=("--die-with-parent=1",))
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")
    assert b"not started" in done.stderr


def test_kill_9_of_the_probe_ends_the_task(probe: Any, started: Any, gone: Any) -> None:
    job = started(probe.start("sh", "-c", "trap '' TERM; echo $$; exec sleep 300"))
    task = gone.watch(int(job.stdout.readline()))
    job.kill()
    assert gone.within(10, task)


@pytest.mark.parametrize("temper", ["meek", "stubborn"])
def test_leftovers_are_ended_when_asked_for(probe: Any, started: Any, gone: Any, temper: str) -> None:
    options = ("--end-leftovers", "--kill-after", "0.2")
    job = started(probe.start(*probe.python(STRAY, temper, "leave"), options=options))
    assert job.wait(10) == 6
    with pytest.raises(ProcessLookupError):
        os.kill(pids_of(job)[2], 0)
    assert not any("outlived" in problem for problem in probe.last()["problems"])


def test_leftovers_are_left_and_told_by_default(probe: Any, started: Any, gone: Any) -> None:
    job = started(probe.start(*probe.python(STRAY, "leave")))
    assert job.wait(10) == 6
    stray = pids_of(job)[2]
    os.kill(stray, signal.SIGKILL)
    assert any(problem.startswith("1 processes outlived") for problem in probe.last()["problems"])


@pytest.mark.parametrize("temper", ["meek", "stubborn"])
def test_a_term_with_kill_after_ends_the_whole_tree(probe: Any, started: Any, gone: Any, temper: str) -> None:
    job = started(probe.start(*probe.python(STRAY, temper), options=("--kill-after", "0.2")))
    watched = [gone.watch(pid) for pid in pids_of(job)]
    job.terminate()
    assert job.wait(10) == -(signal.SIGKILL if temper == "stubborn" else signal.SIGTERM)
    assert gone.within(0, *watched)


def test_a_term_that_ends_the_task_ends_its_strays(probe: Any, started: Any, gone: Any) -> None:
    job = started(probe.start(*probe.python(STRAY)))
    watched = [gone.watch(pid) for pid in pids_of(job)]
    job.terminate()
    assert job.wait(10) == -signal.SIGTERM
    assert gone.within(0, *watched)


def test_usr1_asks_only_the_task(probe: Any, started: Any) -> None:
    job = started(probe.start(*probe.python(LISTENS_BEFORE_A_CHILD)))
    assert job.stdout.read(5) == b"ready"
    job.send_signal(signal.SIGUSR1)
    assert job.stdout.read(5) == b"heard"
    job.communicate(b".")
    assert job.returncode == 12
