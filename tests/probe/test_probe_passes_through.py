"""A job under the probe is the job without it: streams, words, environment, signals and exit status."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.probe import PROBE, command

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1]
LISTENS = """
import os, signal
number = int(os.environ["NUMBER"])
signal.pthread_sigmask(signal.SIG_BLOCK, [number])
os.write(1, b"ready\\n")
signal.sigwait([number])
os._exit(40)
"""


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_stdin_stdout_and_stderr_are_the_jobs(probe: Any) -> None:
    done = probe.run("sh", "-c", "cat; echo noise >&2", stdin=None, input=b"\x00in\xff")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\x00in\xff", b"noise\n")


@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 255])
def test_the_exit_code_is_the_jobs(probe: Any, code: int) -> None:
    assert probe.run("sh", "-c", f"exit {code}").returncode == code
    assert probe.last()["exitcode_raw"] == code << 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGPIPE])
def test_the_probe_dies_of_what_the_job_died_of(probe: Any, number: int) -> None:
    assert probe.run("sh", "-c", f"kill -{int(number)} $$").returncode == -number
    assert probe.last()["exitcode_raw"] & 0x7F == number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_reaches_the_job_that_listens(probe: Any, started: Any, number: signal.Signals) -> None:
    job = started(probe.start(*probe.python(LISTENS), env={**os.environ, "NUMBER": str(int(number))}))
    assert line_of(job) == b"ready\n"
    job.send_signal(number)
    assert job.wait(10) == 40


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_job_that_does_not(probe: Any, started: Any, number: signal.Signals) -> None:
    job = started(probe.start("sh", "-c", "echo ready; exec sleep 60"))
    assert line_of(job) == b"ready\n"
    job.send_signal(number)
    assert job.wait(10) == -number
    assert probe.last()["exitcode_raw"] == number


def test_words_arrive_byte_for_byte(probe: Any) -> None:
    words = [b"two words", b'it\'s "quoted"', b"", b"\xff\xfe", "Ω".encode(), b"--trace", b"$HOME;*\n"]
    assert probe.run("printf", r"%s\0", *words).stdout.split(b"\0")[:-1] == words


def test_the_environment_arrives_byte_for_byte_even_where_python_changes_its_locale() -> None:
    given: dict[bytes, bytes] = {b"PATH": os.environb[b"PATH"], b"BAD": b"\xff=\xfe", b"EMPTY": b""}
    bare = subprocess.run(["env", "-0"], env=given, capture_output=True, check=True).stdout
    probed = subprocess.run([sys.executable, PROBE, "env", "-0"], env=given, capture_output=True, check=True).stdout
    assert sorted(probed.split(b"\0")) == sorted(bare.split(b"\0"))


def test_inherited_signal_settings_arrive(probe: Any) -> None:
    script = "trap '' HUP CHLD; {} grep Sig /proc/self/status"
    bare = subprocess.run(["sh", "-c", script.format("")], capture_output=True, check=True).stdout
    words = " ".join(f"'{word}'" for word in probe.words())
    probed = subprocess.run(["sh", "-c", script.format(words)], capture_output=True, check=True).stdout
    assert probed.splitlines()[1:] == bare.splitlines()[1:]


def test_a_missing_command_is_127_as_in_a_shell(probe: Any) -> None:
    done = probe.run("no-such-command")
    assert (done.returncode, done.stderr) == (127, b"panorama_probe: no-such-command: command not found\n")


@pytest.mark.parametrize("content", ["", "no program at all"])
def test_what_cannot_be_executed_is_126_as_in_a_shell(probe: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "job").write_text(content)
    (tmp_path / "job").chmod(0o755 if content else 0o644)
    done = probe.run(str(tmp_path / "job"))
    assert done.returncode == 126
    assert str(tmp_path / "job").encode() in done.stderr


def test_without_options_the_probe_becomes_the_command() -> None:
    words = [sys.executable, "-IS", str(PROBE), "sh", "-c", "echo $$"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as job:
        assert int(line_of(job)) == job.pid


@pytest.mark.parametrize("trace", ["/dev/full", "/no/such/folder/trace"])
def test_a_trace_that_cannot_be_written_is_told_and_fails_no_job(trace: str) -> None:
    words = [sys.executable, "-IS", str(PROBE), "--trace", trace, "sh", "-c", "echo out; exit 5"]
    done = subprocess.run(words, capture_output=True)
    assert (done.returncode, done.stdout) == (5, b"out\n")
    assert trace.encode() in done.stderr


def test_without_a_file_left_to_open_the_job_runs_unobserved(probe: Any) -> None:
    words = probe.words("sh", "-c", "trap 'exit 6' TERM; kill $$; exit 5")
    done = subprocess.run(["sh", "-c", 'ulimit -n 4; exec "$@"', "sh", *words], capture_output=True)
    assert done.returncode == 6
    assert b"runs without its probe" in done.stderr


def test_a_bad_value_is_told_and_fails_no_job(probe: Any) -> None:
    assert probe.run("true", options=("--interval", "often")).returncode == 0
    assert "often" in probe.last()["problems"][0]


def test_an_unknown_option_is_refused_before_anything_runs(probe: Any) -> None:
    done = probe.run("echo", "ran", options=("--frobnicate",))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--frobnicate" in done.stderr


def test_an_input_file_named_like_a_module_is_not_imported(tmp_path: Path) -> None:
    shutil.copy(PROBE, tmp_path)
    (tmp_path / "resource.py").write_text("raise SystemExit(99)")
    done = subprocess.run([sys.executable, "panorama_probe.py", "/bin/echo", "hi"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"hi\n")


def test_a_job_that_closes_its_stdout_is_seen_to_close_it(probe: Any, started: Any) -> None:
    job = started(probe.start("sh", "-c", "echo all; exec >&-; read line"))
    assert job.stdout.read() == b"all\n"
    assert job.poll() is None
    job.communicate(b"\n")
    assert job.returncode == 0


def test_stop_and_continue_hold_the_job_and_its_probe(probe: Any, started: Any) -> None:
    job = started(probe.start("sh", "-c", "echo $$; read line; exit 9"))
    task = int(line_of(job))
    job.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    while Path(f"/proc/{task}/stat").read_text().split(") ")[1][0] != "T":
        pass
    job.send_signal(signal.SIGCONT)
    job.communicate(b"\n")
    assert job.returncode == 9


def test_on_a_terminal_the_job_reads_writes_and_hears_control_c(probe: Any) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        words = probe.words("sh", "-c", "read line; echo got $line; exec sleep 60")
        os.execv(words[0], words)
    os.write(terminal, b"this\n")
    seen = b""
    while b"got this" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.WTERMSIG(status) == signal.SIGINT


def interpreter(version: str) -> str | None:
    """Find a Python by its name or, where pyenv keeps it out of the PATH, through pyenv."""
    python = shutil.which(f"python{version}")
    if python and not subprocess.run([python, "-c", ""], capture_output=True).returncode:
        return python
    if shutil.which("pyenv"):
        for name in subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True).stdout.split():
            if name.startswith(f"{version}."):
                return subprocess.check_output(["pyenv", "prefix", name], text=True).strip() + "/bin/python"
    return None


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(6, 15)])
def test_every_python_runs_it(probe: Any, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    words = [python, "-IS", str(PROBE), "--trace", str(probe.trace), "sh", "-c", "echo hi; exit 3"]
    done = subprocess.run(words, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hi\n", b"")
    assert probe.last()["wchar"] == 3


def test_the_package_starts_the_compiled_probe() -> None:
    done = subprocess.run([*command(), "echo", "hi"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"hi\n")
    code = "from panorama_driver.probe import command; print(command()[-1])"
    writing = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=writing, check=True)
    assert told.stdout.strip().endswith(".pyc")
