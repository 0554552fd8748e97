"""`panorama up` as a process of its own, what it says, what it leaves; and publishers that it is fed by."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from panorama_driver.backend.supervisor import Condition
from panorama_driver.backend.up import State, state_of
from tests.faults import offering
from tests.faults.brokers import Message

WITHIN = 60.0
PANORAMA = [sys.executable, "-P", "-c", "from panorama_driver.cli import main; main()"]


def panorama(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*PANORAMA, *map(str, words)], env=os.environ | more, capture_output=True, text=True, timeout=120, check=False
    )


def wait(true: Callable[[], object], what: str, seconds: float = WITHIN) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited for {what} in vain"
        time.sleep(0.02)


class Up:
    """A back end in a folder.

    Parameters
    ----------
    folder : Path
        Its folder.
    options : str
        Of `panorama up`, at each start.
    more : str
        Variables of its environment.
    """

    def __init__(self, folder: Path, *options: str, **more: str) -> None:
        self.folder, self.options = folder, options
        self.more = {"XDG_CACHE_HOME": str(folder.with_name("cache"))} | more
        self.output = folder.with_name(f"{folder.name}.out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until all of it is well."""
        self.begin()
        wait(lambda: self.ended or self.well, "the back end")
        assert self.well, self.output.read_text()

    def begin(self) -> None:
        """Start it."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*PANORAMA, "up", str(self.folder), *self.options],
                env=os.environ | self.more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def state(self) -> State:
        state = state_of(self.folder)
        assert state is not None, self.output.read_text()
        return state

    @property
    def well(self) -> bool:
        state = state_of(self.folder) if self.folder.is_dir() else None
        return state is not None and state.well

    def part(self, name: str) -> Condition:
        return next(part for part in self.state.parts if part.name == name)

    def kill(self, name: str) -> float:
        """Kill a part as kill -9 does, and wait until it is well again; how long that took [s]."""
        pid = self.part(name).pid
        assert pid is not None
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: self.part(name).pid not in (None, pid) and self.part(name).state == "ready", f"another {name}")
        return time.monotonic() - began

    def kill_all(self) -> None:
        """Kill the process that looks after the others, as kill -9 does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WITHIN)

    def close(self) -> None:
        """End whatever still runs."""
        if not self.ended:
            self.stop()
        for pid in left(self.folder):
            os.kill(pid, signal.SIGKILL)


def left(folder: Path) -> dict[int, str]:
    """Processes of a back end in a folder: by their words, variables or working directory; publishers are no part."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes()
                known = words + (process / "environ").read_bytes() + os.fsencode(os.readlink(process / "cwd"))
            except OSError:
                continue
            if words and os.fsencode(folder) in known and os.fsencode(offering.__file__) not in words:
                found[int(process.name)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


class Offered:
    """A publisher with confirms in a process of its own, which offers messages until it is told to finish.

    Parameters
    ----------
    folder : Path
        For its spool.
    monitoring : dict
        Where the broker is, as for study.yml.
    sent : sequence of messages
        What to offer.
    rate : int
        Of them a second; 0 is as fast as it goes.
    """

    def __init__(self, folder: Path, monitoring: dict[str, str], sent: Sequence[Message], rate: int) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "messages").write_bytes(b"".join(key.encode() + b"\t" + body + b"\n" for key, body in sent))
        self._folder, self._output = folder, folder / "accepted"
        self._where = (monitoring["broker"], monitoring["credentials"])
        self._process = self._offer(0, len(sent), rate)

    @property
    def accepted(self) -> int:
        """Messages that it has taken upon itself."""
        lines = self._output.read_text().rpartition("\n")[0].splitlines()
        numbers = [int(line.split()[0]) for line in lines if not line.startswith("confirmed")]
        return numbers[-1] if numbers else 0

    def confirmed(self) -> None:
        """Wait until the broker has confirmed everything."""
        assert self._process.wait(WITHIN) == 0
        assert self._output.read_text().splitlines()[-1].startswith("confirmed")

    def finish(self) -> int:
        """Offer no more, and have another process see to what was accepted; how many those are."""
        self.close()
        accepted = self.accepted
        self._process = self._offer(accepted, accepted, 0)
        self.confirmed()
        return accepted

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _offer(self, start: int, end: int, rate: int) -> subprocess.Popen[bytes]:
        words = [*self._where, self._folder / "spool", self._folder / "messages", start, end, 5, rate]
        with self._output.open("ab") as accepted, (self._folder / "told").open("ab") as told:
            return subprocess.Popen(
                [sys.executable, str(offering.__file__), *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=accepted,
                stderr=told,
            )


class Systemd:
    """Hears what a service tells of itself (sd_notify(3))."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(WITHIN)
        self._socket.bind(str(path))

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()
