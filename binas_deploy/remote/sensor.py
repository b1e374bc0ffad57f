"""A sensor of energy on another machine, read over the link."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from binas_deploy.errors import LinkLostError
from binas_deploy.remote.link import Link
from binas_deploy.remote.session import AgentSession

_TRIPS: Final = 5
TRIPS_IN_A_LOOK: Final = 200
"""A reading comes a trip late: so many in the time of a look, and what is used meanwhile is 0.5 % of it at most."""


class RemoteSensor:
    """The sensor that the agent's machine has for the device. It counts while it is open.

    Raises:
        DeviceError, EnvironmentFault: there is none, or it cannot be read, and why.
    """

    def __init__(self, link: Link[AgentSession]) -> None:
        self._link = link
        found = link.do(AgentSession.sensor)
        self.name = found.name
        self.least_seconds = max(found.least_seconds, TRIPS_IN_A_LOOK * _trip_seconds(link))
        link.do(AgentSession.close_sensor)
        self._session: AgentSession | None = None

    def joules(self) -> float:
        """As the sensor there tells it.

        Raises:
            LinkLostError: the link broke since it was opened; what was counted before is not known any more.
            DeviceError: it cannot be read any more.
        """
        return self._link.do(self._counted, again=False)

    def __enter__(self) -> RemoteSensor:
        self._session = self._link.do(_opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._link.do_in(self._session, AgentSession.close_sensor)
            self._session = None

    def _counted(self, session: AgentSession) -> float:
        if session is not self._session:
            raise LinkLostError(
                f"{self.name}: the link broke while energy was counted, so a part of it is not known. Run the same "
                "command again: the latencies are kept."
            )
        return session.joules()


def _opened(session: AgentSession) -> AgentSession:
    session.sensor()
    return session


def _trip_seconds(link: Link[AgentSession]) -> float:
    """How long a reading is on its way; the least of a few, since the first ones may wait for something."""

    def trip() -> float:
        begin = time.perf_counter()
        link.do(AgentSession.joules)
        return time.perf_counter() - begin

    return min(trip() for _ in range(_TRIPS))
