"""The workers of a process: one a lane, started together, stopped together, with one word on how they are."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum

import structlog

from app import clock
from app.database import Database
from app.errors import ServiceUnavailable
from app.worker.lane import Lane
from app.worker.worker import Worker, WorkerSettings
from app.worker.worker_lock import WorkerLock

log = structlog.get_logger()
_LOCK_SECONDS = 0.2
_RETRY_SECONDS = 1.0


class CrewState(StrEnum):
    """STANDBY: another process holds this SQLite file's worker lock; ours takes over when it ends."""

    STARTING = "starting"
    STANDBY = "standby"
    WORKING = "working"
    STOPPED = "stopped"
    DEAD = "dead"


class Crew:
    """Runs a worker for each lane until stopped."""

    def __init__(self, database: Database, lanes: Sequence[Lane], settings: WorkerSettings) -> None:
        self._database, self._lanes = database, lanes
        self.workers = [Worker(database, lane, settings) for lane in lanes]
        path = database.sqlite_path
        self._lock = WorkerLock(path) if path is not None else None
        self._state = CrewState.STARTING
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def state(self) -> CrewState:
        if self._task is not None and self._task.done() and self._state is not CrewState.STOPPED:
            return CrewState.DEAD
        return self._state

    def start(self) -> None:
        """Begin in the background: the API answers while a provider is still warming up."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(_log_death)

    def stop(self, *, at_once: bool = False) -> None:
        """Begin to drain; a second call with `at_once` cuts the drain short. From the event loop only."""
        self._stopping.set()
        for worker in self.workers:
            worker.stop(at_once=at_once)

    async def wait_stopped(self) -> None:
        """Until the drain is over and what was left is released."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            if await self._get_ready():
                self._state = CrewState.WORKING
                log.info("worker.started", lanes=[lane.name for lane in self._lanes])
                # Together: when one dies, the others end too before the lock is given up.
                async with asyncio.TaskGroup() as group:
                    for worker in self.workers:
                        group.create_task(worker.run())
            self._state = CrewState.STOPPED
        finally:
            try:
                for lane in self._lanes:
                    await lane.close()
            finally:
                if self._lock is not None:
                    self._lock.release()

    async def _get_ready(self) -> bool:
        """False when we were stopped before it came to working."""
        for lane in self._lanes:
            await self._start_lane(lane)
        while not self._stopping.is_set():
            try:
                if await self._is_alone():
                    return True
            except (ServiceUnavailable, OSError) as error:
                log.warning("worker.cannot_begin", exc_info=error)
                await clock.sleep(_RETRY_SECONDS)
            else:
                self._state = CrewState.STANDBY
                await clock.sleep(_LOCK_SECONDS)
        return False

    async def _start_lane(self, lane: Lane) -> None:
        """However often it takes: a disk that was full or a file that was away may come back."""
        while not self._stopping.is_set():
            try:
                await lane.start()
                break
            except Exception:
                log.exception("lane.would_not_start", lane=lane.name)
                await clock.sleep(_RETRY_SECONDS)

    async def _is_alone(self) -> bool:
        """Where only one may work, whether that is us; then every lease is a dead worker's."""
        if self._lock is None:
            return True
        if not self._lock.try_acquire():
            return False
        for worker in self.workers:
            await worker.reclaim_everything()
        return True


def _log_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("worker.died", exc_info=task.exception())
