"""Keeps processes running: started in order, looked after, started again when they end, ended in the reverse order.

One thread with one event loop does all of it, so that nothing is forked while another thread holds a lock, and the
processes end with this one however it ends. supervisord 4.3, circus 0.19 and honcho 2.0 were looked at first: none of
them ends its processes when it is killed itself, or starts one only when another answers, and honcho starts none again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..errors import ServiceError
from ._keeper import Keeper
from ._logs import Log
from ._parts import Condition, Part, Patience

__all__ = ["Condition", "Part", "Patience", "Supervisor"]


class Supervisor:
    """Keeps parts running until it is told to end.

    Parameters
    ----------
    parts : sequence of Part
        In the order in which they are started.
    log_folder : Path
        Where the log of each goes.
    changed : callable
        Called with the condition of a part whenever that is another.
    patience : Patience
        How long is waited for what.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        log_folder: Path,
        changed: Callable[[Condition], None] = lambda _: None,
        patience: Patience | None = None,
    ) -> None:
        self._keepers = {
            part.name: Keeper(part, Log(log_folder / f"{part.name}.log", part.hear), patience or Patience(), changed)
            for part in parts
        }

    @property
    def conditions(self) -> list[Condition]:
        """How each part is doing."""
        return [keeper.condition for keeper in self._keepers.values()]

    async def run(self, told: asyncio.Event, at_once: asyncio.Event) -> None:
        """Keep all parts running until `told`, then end them in order, or `at_once`.

        Raises
        ------
        ServiceError
            A part that is needed was given up; the others were ended.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        keeping = {name: asyncio.create_task(self._keep(keeper)) for name, keeper in self._keepers.items()}
        end = asyncio.create_task(told.wait())
        try:
            await self._until(end, keeping)
        finally:
            end.cancel()
            hurrying = asyncio.create_task(self._hurry(at_once))
            for name in reversed(keeping):
                await self._end(keeping[name], self._keepers[name])
            hurrying.cancel()
            loop.remove_signal_handler(signal.SIGCHLD)

    async def _until(self, end: asyncio.Task[bool], keeping: dict[str, asyncio.Task[str]]) -> None:
        """Wait for the end, or until a part that is needed was given up."""
        needed = {name: task for name, task in keeping.items() if self._keepers[name].part.needed}
        await asyncio.wait([end, *needed.values()], return_when=asyncio.FIRST_COMPLETED)
        for name, task in needed.items():
            if task.done():
                raise ServiceError(f"{name}: {task.result()}")

    async def _keep(self, keeper: Keeper) -> str:
        return await keeper.keep(partial(self._others, keeper))

    async def _others(self, keeper: Keeper) -> None:
        """Wait until all are ready that a part needs."""
        others = [self._keepers[name].ready for name in keeper.part.after]
        while not all(ready.is_set() for ready in others):
            for ready in others:
                await ready.wait()

    async def _end(self, keeping: asyncio.Task[str], keeper: Keeper) -> None:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        keeper.close()

    async def _hurry(self, at_once: asyncio.Event) -> None:
        await at_once.wait()
        for keeper in self._keepers.values():
            keeper.kill()

    def _reap(self) -> None:
        for keeper in self._keepers.values():
            keeper.reap()
