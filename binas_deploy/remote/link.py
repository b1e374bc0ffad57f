"""A link: connections to one agent, one at a time, made when first needed and made again after they broke."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from binas_deploy.errors import LinkLostError
from binas_deploy.remote.ssh import Unreachable

T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)
RECONNECT_SECONDS: Final = 600.0
"""For so long a machine that was lost is looked for; it may be starting again."""
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 20.0
_MOST_LOSSES: Final = 3
"""Of the link in one action: it may be the action that kills the agent."""


class Session(Protocol):
    """A connection with what is known to be at its other end."""

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        ...

    def close(self) -> None:
        """End it."""
        ...


S = TypeVar("S", bound=Session)


class Link(Generic[S]):
    """``begin`` makes a session. Actions of several threads take turns. It is ended with this object or the process."""

    def __init__(self, begin: Callable[[], S], wait: Callable[[float], None] = time.sleep) -> None:
        self._begin = begin
        self._wait = wait
        self._held: list[S] = []  # none or one; what ends it must not hold this object
        self._lost = False
        self._lock = threading.RLock()
        weakref.finalize(self, _end, self._held)

    def do(self, action: Callable[[S], T], *, again: bool = True) -> T:
        """What ``action`` gives. Where the link breaks, it is done from its beginning on a new one, if ``again``.

        Raises:
            LinkLostError: the link broke, several times or where the action is not to be done again.
            Unreachable: there is no connection any more.
            BinasError: what the action raises.
        """
        losses = 0
        with self._lock:
            while True:
                try:
                    return action(self._present())
                except LinkLostError as error:  # noqa: PERF203  what the loop is for
                    self._drop()
                    losses += 1
                    if not again or losses == _MOST_LOSSES:
                        raise
                    _LOG.warning("%s Connecting again.", error)

    def do_in(self, session: S, action: Callable[[S], object]) -> None:
        """Do what only that session needs to have done; nothing when it is gone."""
        with self._lock:
            if session in self._held and session.alive:
                try:
                    action(session)
                except LinkLostError:
                    self._drop()

    def close(self) -> None:
        """End the session, where there is one."""
        with self._lock:
            _end(self._held)

    def _drop(self) -> None:
        self._lost = True
        self.close()

    def _present(self) -> S:
        if not self._held or not self._held[0].alive:
            self.close()
            self._held.append(self._found_again() if self._lost else self._begin())
        return self._held[0]

    def _found_again(self) -> S:
        give_up, wait = time.monotonic() + RECONNECT_SECONDS, _FIRST_WAIT
        while True:
            try:
                return self._begin()
            except (Unreachable, LinkLostError) as error:
                if time.monotonic() + wait > give_up:
                    raise
                _LOG.warning("%s Trying again in %.0f s.", error, wait)
            self._wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)


def _end(sessions: list[S]) -> None:
    while sessions:
        sessions.pop().close()
