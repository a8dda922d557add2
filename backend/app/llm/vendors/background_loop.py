"""A thread of its own with an event loop of its own, for work that must not slow the application's loop.

Invariant: after `stop` the thread is gone and none of its tasks is pending, so nothing is destroyed half
done.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_JOIN_SECONDS = 10.0
_HELPER_THREADS = 4


class BackgroundLoop:
    """Begins with the first `submit`; may be stopped from any loop but its own, once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on this loop; cancelling the future cancels it. Raises RuntimeError after `stop`."""
        if self._is_stopped:
            work.close()
            raise RuntimeError(f"{self._name} has been stopped")
        if self._loop is None:
            self._loop = _new_event_loop()
            self._thread = threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def stop(self) -> None:
        """Cancel what runs, wait for it to end, end the thread. Safe to repeat."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._loop is None or self._thread is None:
            return
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        # More than one helper: a name that resolves slowly must not hold up the starts of the other calls.
        helpers = ThreadPoolExecutor(_HELPER_THREADS, thread_name_prefix=self._name)
        loop.set_default_executor(helpers)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            helpers.shutdown(wait=False, cancel_futures=True)
            asyncio.set_event_loop(None)
            loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - it does not exist for Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
