"""The road for servers: questions go out, many at a time, and replies come in.

A server decodes by itself, so there is nothing to plan, step or count here.  Questions are
taken as room becomes free, answers are given as they arrive, and what went wrong with one
is told in its answer; a server that answers nothing at all ends the run.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from parallelbench.errors import ServerError, UnreachableError
from parallelbench.model import Reply, Server
from parallelbench.task import Message


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One reply to be asked for.

    Attributes:
        messages: The chat.
        key: Names this decode within its run; its randomness is drawn from nothing else.
        tag: Handed back with the answer.
    """

    messages: tuple[Message, ...]
    key: str
    tag: Any = None


@dataclass(frozen=True, slots=True)
class Answered:
    """One question, answered or given up.

    Attributes:
        question: The question.
        reply: Reply of the server; None if it gave no usable one.
        error: Why there is no reply; None if there is one.
        seconds: Wall-clock time with every attempt and the waits between them.
        fragment: Partial reply without a usable answer; None if nothing arrived.
    """

    question: ServerRequest
    reply: Reply | None
    error: str | None
    seconds: float
    fragment: Reply | None = None


def serve(
    questions: Iterable[ServerRequest], server: Server, *, patience: int = 20
) -> Iterator[Answered]:
    """Ask ``server`` for its replies and yield each answer as it arrives, in any order.

    Closing the iterator abandons the requests under way; it does not wait for them.

    Args:
        questions: Taken as room becomes free: as many as the server is sent at a time, and
            as many again, so that no thread waits while answers are marked and written.
        server: Is asked from as many threads as its ``concurrency`` says.
        patience: Maximum number of consecutive failed requests, at least 1.

    Raises:
        UnreachableError: ``patience`` requests failed, with no reply in between.
        ValueError: ``patience`` is below 1.
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1 request, got {patience}")
    waiting = iter(questions)
    crew = _Crew(server)
    failures = 0
    try:
        while True:
            # Of a server that seems to be gone nothing more is asked.
            room = 2 * server.concurrency - crew.outstanding if failures < patience else 0
            for question in itertools.islice(waiting, room):
                crew.ask(question)
            if not crew.outstanding:
                return
            answered = crew.next_answer()
            failures = 0 if answered.error is None else failures + 1
            yield answered
            # A reply that is here already shows that the server is not gone.
            if failures >= patience and not crew.has_answers:
                raise UnreachableError(
                    f"{failures} requests in a row failed, the last with: {answered.error}"
                )
    finally:
        crew.dismiss()
        server.close()


class _Crew:
    """Threads that ask a server.

    They are daemons, which no standard executor offers: a program that is interrupted must
    not wait, on its way out, for the replies to requests that nobody wants any more.

    Attributes:
        outstanding: Questions asked and not yet answered.
    """

    def __init__(self, server: Server) -> None:
        self.outstanding = 0
        self._server = server
        self._threads = 0
        self._asked: queue.SimpleQueue[ServerRequest | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answered | BaseException] = queue.SimpleQueue()

    @property
    def has_answers(self) -> bool:
        return not self._answers.empty()

    def ask(self, question: ServerRequest) -> None:
        self._asked.put(question)
        self.outstanding += 1
        if self._threads < self._server.concurrency:
            self._threads += 1
            name = f"parallelbench-server-{self._threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def next_answer(self) -> Answered:
        """Return the next answer, once there is one; a fault of ours is raised here."""
        answered = self._answers.get()
        self.outstanding -= 1
        if isinstance(answered, BaseException):
            raise answered
        return answered

    def dismiss(self) -> None:
        """Let every thread end after the request it is at; what is not begun is dropped."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._asked.get_nowait()
        for _ in range(self._threads):
            self._asked.put(None)

    def _work(self) -> None:
        while (question := self._asked.get()) is not None:
            self._answers.put(_answered(question, self._server))


def _answered(question: ServerRequest, server: Server) -> Answered | BaseException:
    begun = time.perf_counter()
    try:
        reply = server.reply(question.messages, key=question.key)
    except ServerError as error:
        seconds = time.perf_counter() - begun
        return Answered(question, None, str(error), seconds, fragment=error.fragment)
    except BaseException as error:  # noqa: BLE001  raised where answers are awaited
        return error
    return Answered(question, reply, None, time.perf_counter() - begun)
