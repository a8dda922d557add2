"""The protocol server: routes, the life of a call, and the two ways to run it in a test.

Invariant: every request for a completion becomes exactly one call in the book, whatever then happens to it;
requests that are none (a wrong path, broken JSON, no key) become none.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import uvloop

from tests.protocol_server import control
from tests.protocol_server.calls import Call, CallBook
from tests.protocol_server.choice import Choice, Mix
from tests.protocol_server.delivery import Way, deliver, deliver_listing
from tests.protocol_server.door import Door
from tests.protocol_server.faults.plan import Plan
from tests.protocol_server.faults.table import OK, UnknownFaultError, plan_for
from tests.protocol_server.peer import Peer, PeerGoneError, Request, head_of
from tests.protocol_server.rendering import render
from tests.protocol_server.scripted import Answer, Answers
from tests.protocol_server.wires.listings import LISTING, Offer, listing
from tests.protocol_server.wires.table import ANTHROPIC, OPENAI, WIRES
from tests.protocol_server.wires.wire import Wire

_JSON = {"content-type": "application/json"}


class ProtocolServer:
    """A fake upstream on the running loop: `async with ProtocolServer() as server`.

    `offer` is what the server says of its models, `listings` how often it was asked for that, `listing_fault`
    what it does then.
    `script`, `answer`, `set_default`, `set_mix`, `go_down`, `go_up`, `reset`, `calls`, `stats` and `wait_idle`
    may be used from any thread.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency_seconds: float = 0.0,
        log_path: Path | None = None,
        mix: Mix | None = None,
        default: str = "ok",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.latency_seconds = latency_seconds
        self.offer = Offer()
        self.listings = 0
        self.listing_fault = OK
        self._choice = Choice(mix, default)
        self._answers = Answers()
        self._book = CallBook(log_path)
        self._peers: set[Peer] = set()
        self._door = Door(port, tls, lambda: Peer(self._serve, self._peers), self._cut)

    @property
    def port(self) -> int:
        return self._door.port

    @property
    def url(self) -> str:
        return self._door.url

    @property
    def base_url(self) -> str:
        """What OpenAI's clients call base_url or api_base."""
        return f"{self.url}/v1"

    @property
    def calls(self) -> list[Call]:
        """The calls so far, in order of arrival; those still open have no `ended_at`."""
        return list(self._book.calls)

    def script(self, *faults: str, model: str | None = None) -> None:
        """Queue a fault expression for each coming call, of this model or any. Raises UnknownFaultError."""
        self._choice.add(faults, model)

    def answer(self, answer: Answer, *, model: str | None = None, marker: str | None = None) -> None:
        """What the model says to every call of this model, or with `[[answer:MARKER]]` in its text."""
        self._answers.add(answer, model=model, marker=marker)

    def set_default(self, fault: str) -> None:
        """The fault of every call that nothing else decides. Raises UnknownFaultError."""
        self._choice.set_default(fault)

    def set_mix(self, mix: Mix | None) -> None:
        self._choice.mix = mix

    def go_down(self, fault: str = "503", *, seconds: float | None = None) -> None:
        """Every request, for models too, meets this fault before its marker is looked at, or finds no listener
        (`refused`), for so many seconds or until `go_up`. Raises UnknownFaultError.
        """
        self._door.go_down(fault, seconds)

    def go_up(self) -> None:
        """Be well again, on the same port."""
        self._door.go_up()

    def reset(self) -> None:
        """Forget calls, scripts and answers, be up; the default and the mix are those of the start again."""
        self._door.go_up()
        self._choice.reset()
        self._answers.reset()
        self.offer = Offer()
        self.listings = 0
        self.listing_fault = OK
        self._book.forget()

    def stats(self) -> dict[str, object]:
        return {
            **self._book.stats(),
            "connections": len(self._peers),
            "script_left": self._choice.left(),
            "listings": self.listings,
            "down": self._door.fault,
        }

    def wait_idle(self, timeout_seconds: float = 5.0) -> bool:
        """Whether no call was open within the time. Blocks: on the server's loop use `asyncio.to_thread`."""
        return self._book.wait_idle(timeout_seconds)

    async def start(self) -> None:
        await self._door.open()

    async def stop(self) -> None:
        """Stop listening, cut every connection; open calls end as not hung up. Safe to repeat."""
        await self._door.shut()
        self._book.close()

    async def _cut(self) -> None:
        tasks = [peer.task for peer in self._peers if peer.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A client that does not read would keep its connection open, and wait_closed waiting.
        for peer in list(self._peers):
            peer.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def _serve(self, peer: Peer) -> None:
        try:
            while (request := await peer.next_request()) is not None:
                await self._answer(peer, request)
                if not request.is_keep_alive:
                    break
            if peer.is_malformed:
                peer.write(head_of(400, 0, {"connection": "close"}))
        except PeerGoneError:
            pass
        finally:
            peer.close()

    async def _answer(self, peer: Peer, request: Request) -> None:
        path = request.target.partition("?")[0]
        wire = WIRES.get(path)
        if path.startswith("/control/"):
            _reply(peer, *control.answer(self, request))
        elif wire is not None and request.method == "POST":
            await self._complete(peer, request, wire, path)
        else:
            await self._list(peer, request, path)

    async def _list(self, peer: Peer, request: Request, path: str) -> None:
        try:
            found = listing(self.offer, request, path)
        except (ValueError, TypeError) as error:
            found = 400, OPENAI.error_body(str(error), "invalid_request_error")
        if found is None:
            found = 404, OPENAI.error_body(f"Invalid URL ({request.method} {path})", "invalid_request_error")
        else:
            self.listings += 1
        fault = self._door.fault or self.listing_fault
        await deliver_listing(peer, plan_for(LISTING, fault), head_of(found[0], len(found[1]), _JSON) + found[1])

    async def _complete(self, peer: Peer, request: Request, wire: Wire, path: str) -> None:
        try:
            ask = wire.read_ask(request.body, request.headers)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _reply(peer, 400, wire.error_body(f"The request is no completion: {error}", "invalid_request_error"))
            return
        if ask.key is None:
            kind = "authentication_error" if wire is ANTHROPIC else "invalid_request_error"
            _reply(peer, 401, wire.error_body("You didn't provide an API key.", kind))
            return
        fault = self._door.fault or self._choice.take(ask)
        try:
            plan = plan_for(ask, fault, self._answers.find(ask))
        except ValueError as error:
            # A typing error in a marker must be seen, not pass for a good call.
            code = "unknown_fault" if isinstance(error, UnknownFaultError) else "bad_schema"
            _reply(peer, 400, wire.error_body(str(error), "invalid_request_error", code))
            return
        await self._carry_out(peer, plan, wire, self._book.arrive(ask, path, fault, wire.name))

    async def _carry_out(self, peer: Peer, plan: Plan, wire: Wire, call: Call) -> None:
        """The call from its entry in the book to its end, by whichever way it comes."""
        try:
            reply = render(plan, wire, call)
            self._book.record(call)
            await peer.pause(self.latency_seconds + plan.wait_seconds)
            await deliver(Way(peer, self._book, call), plan, reply)
        except PeerGoneError:
            self._book.end(call, has_hung_up=True)
            raise
        finally:
            self._book.end(call, has_hung_up=False)


def _reply(peer: Peer, status: int, body: bytes) -> None:
    peer.write(head_of(status, len(body), _JSON) + body)


@contextmanager
def running_server(
    *,
    port: int = 0,
    latency_seconds: float = 0.0,
    log_path: Path | None = None,
    mix: Mix | None = None,
    default: str = "ok",
    tls: ssl.SSLContext | None = None,
) -> Iterator[ProtocolServer]:
    """A server on a thread and a loop of its own, up when the block begins, gone when it ends."""
    server = ProtocolServer(
        port=port, latency_seconds=latency_seconds, log_path=log_path, mix=mix, default=default, tls=tls
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.start())
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="protocol-server", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(timeout=10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=10)
