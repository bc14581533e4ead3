"""Many requests at once, with a bounded number in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from duelist.errors import DuelistError, ModelError
from duelist.judges.cache import Kept
from duelist.judges.chat_client import ChatClient, ChatRequest, RequestRefused, UnusableAnswer, Usable

PATIENCE = 10  # requests without a usable answer, and none with one, after which the judge stops


@dataclass
class Asking:
    """Sends requests and collects their answers.

    After a failure no further request is sent. Those in flight are waited for, because they are paid for, and their
    answers are kept.

    Attributes:
        client: sends a request, with its retries.
        usable: whether an answer has what was asked for.
        concurrency: maximum number of requests in flight.
        one_first: whether to wait for the first answer before more than one request is in flight.
        may_send: returns an error if no further request may be sent, given the number in flight. It is final once
            nothing is in flight.
        ended: called with the key of each request that has ended.
        refused: the reasons of requests without a usable answer.
        failure: why it stopped; None if every request has ended.
    """

    client: ChatClient
    usable: Usable
    concurrency: int
    one_first: bool
    may_send: Callable[[int], DuelistError | None]
    ended: Callable[[str], None]
    refused: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def ask(self, requests: Sequence[ChatRequest], found: dict[str, Kept]) -> None:
        """Send requests, and add their answers to `found` by key."""
        waiting = list(reversed(requests))
        flying: dict[Future[Kept], str] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                while True:
                    room = 1 if self.one_first and not found else self.concurrency
                    while waiting and self.failure is None and len(flying) < room:
                        refusal = self.may_send(len(flying))
                        if refusal is not None:  # what is in flight may cost less, and may be counted as spent too
                            self.failure = None if flying else refusal
                            break
                        request = waiting.pop()
                        flying[pool.submit(self.client.ask, request, self.usable)] = request.key
                    if not flying:
                        return
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        key = flying.pop(future)
                        self._take(key, future, found)
                        self.ended(key)
            except BaseException:
                self.client.stop()
                self.client.close()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _take(self, key: str, future: Future[Kept], found: dict[str, Kept]) -> None:
        try:
            found[key] = future.result()
        except (RequestRefused, UnusableAnswer) as error:
            self.refused.append(str(error))
            if len(self.refused) == PATIENCE and not found:
                self.failure = self.failure or ModelError(
                    "A judge must answer as it did when it was first asked, but none of "
                    f"{PATIENCE} requests got a usable answer. The first: {self.refused[0]}. No verdict was recorded: "
                    "correct the server, `model` or `extra_body`, then run the same command again."
                )
        except Exception as error:
            self.failure = self.failure or error
            self.client.stop()
