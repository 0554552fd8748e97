"""Keeps one process running: starts it, looks after it, starts it again, gives it up, ends it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ._logs import Log
from ._parts import Condition, Part, Patience

_PR_SET_PDEATHSIG = 1  # prctl(2)
_READ = 1 << 16  # bytes
_libc = ctypes.CDLL(None)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


class Keeper:
    """Keeps a part running, in the event loop of a process whose main thread runs that.

    Parameters
    ----------
    part : Part
        What to run.
    log : Log
        Where its words go.
    patience : Patience
        How long is waited for what.
    changed : callable
        Called with its condition whenever that is another.
    """

    def __init__(self, part: Part, log: Log, patience: Patience, changed: Callable[[Condition], None]) -> None:
        self.part = part
        self.condition = Condition(name=part.name, since=time.time())
        self.ready = asyncio.Event()
        self._log, self._patience, self._changed = log, patience, changed
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = asyncio.Event()
        self._failures = 0
        self._ready_since: float | None = None
        self._was_ready = self._hurried = False

    async def keep(self, others: Callable[[], Awaitable[None]]) -> str:
        """Keep it running, each time after `others`; ends, with words, when it is given up."""
        while True:
            await others()
            try:
                words = await self._once()
            finally:
                await self._end()
            if self._exhausted():
                words = f"{words}; given up after {self._failures} failures in a row"
                self._say("given up", words)
                return words
            pause = self._patience.pause(self._failures)
            self._say("pausing", f"{words}; to be started again in {pause:.1f} s")
            await asyncio.sleep(pause)
            self._say("waiting", self.condition.words)

    def close(self) -> None:
        """It was ended, or given up, for good."""
        if self.condition.state != "given up":
            self._say("ended", self.condition.words)
        self._log.close()

    def kill(self) -> None:
        """End it at once, or as soon as it is to end."""
        self._hurried = True
        self._signal(signal.SIGKILL)

    def reap(self) -> None:
        """See whether the process has ended, whoever it was that did."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has left; the number is still its own
        process.wait()
        self._hear_out()
        self._gone.set()

    async def _once(self) -> str:
        """Run it once; why it has ended, or must."""
        try:
            self._start()
        except OSError as problem:
            return f"cannot be started: {problem.filename or self.part.command[0]}: {problem.strerror or problem}"
        began = well = time.monotonic()
        while True:
            flaw = await self.part.check()
            if self._gone.is_set():
                return self._how_it_ended()
            now = time.monotonic()
            if not flaw:
                well = now
                self._is_ready(now)
            elif self._ready_since is None:
                if now - began > self.part.start_within:
                    return f"was not ready within {self.part.start_within:g} s: {flaw}"
            elif now - well > self.part.silence:
                return f"was not well for {self.part.silence:g} s: {flaw}"
            elif self.condition.state == "ready":
                self._say("unwell", flaw)
            await self._pass(self._patience.looking if self.condition.state == "ready" else self._patience.starting)

    def _start(self) -> None:
        self.part.starts()
        self._log.begin()
        self._ready_since = None
        self._gone.clear()
        us = os.getpid()
        self._process = subprocess.Popen(
            self.part.command,
            cwd=self.part.folder,
            env=self.part.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for us, who end all in order
            preexec_fn=lambda: _end_with(us),
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        asyncio.get_running_loop().add_reader(self._process.stdout.fileno(), self._hear)
        self.condition.starts += 1
        self.condition.pid = self._process.pid
        self._say("starting", self.condition.words)

    def _is_ready(self, now: float) -> None:
        if self._ready_since is None:
            self._ready_since = now
        self._was_ready = True
        if self.condition.state != "ready":
            self._say("ready")

    def _exhausted(self) -> bool:
        """Count a failure; whether it was one too many."""
        since = self._ready_since
        if since is not None and time.monotonic() - since >= self._patience.steady:
            self._failures = 0
        self._failures += 1
        return self._failures >= (self._patience.tries if self._was_ready else self._patience.first_tries)

    def _how_it_ended(self) -> str:
        assert self._process is not None
        code = self._process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {self._log.last_words}" if self._log.last_words else how

    async def _end(self) -> None:
        """End the process, if there is one, whoever may want us to end meanwhile."""
        if self._process is None or self._process.returncode is not None:
            return
        self._signal(signal.SIGKILL if self._hurried else signal.SIGTERM)
        if not await self._pass(self.part.grace):
            self._signal(signal.SIGKILL)
            await self._gone.wait()

    async def _pass(self, seconds: float) -> bool:
        """Let time pass, and no more of it than the process takes to end; whether it has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        return self._gone.is_set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def _hear(self) -> None:
        """Log what it has written."""
        assert self._process is not None
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), _READ)
        if data:
            self._log.take(data)
        else:
            asyncio.get_running_loop().remove_reader(self._process.stdout.fileno())

    def _hear_out(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        out = self._process.stdout
        asyncio.get_running_loop().remove_reader(out.fileno())
        with suppress(BlockingIOError):
            while data := os.read(out.fileno(), _READ):
                self._log.take(data)
        self._log.end()
        out.close()

    def _say(self, state: str, words: str = "") -> None:
        self.condition.state, self.condition.words, self.condition.since = state, words, time.time()
        if state in ("pausing", "given up", "ended"):
            self.condition.pid = None
        if state == "ready":
            self.ready.set()
        else:
            self.ready.clear()
        self._changed(self.condition)


def _end_with(parent: int) -> None:
    """Have the kernel end this process with the one that has started it: what that is told by SIGKILL reaches all."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
