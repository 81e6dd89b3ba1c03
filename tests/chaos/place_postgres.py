"""A PostgreSQL server as the place of a record: a trigger notes every write in its own transaction."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager

import psycopg
from tests.chaos.place import Save, ServerPlace
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay

__all__ = ["PostgresPlace"]

NOTING = """
CREATE TABLE saves (number bigserial, generation integer, state text, attempt text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    body jsonb := convert_from(NEW.body, 'UTF8')::jsonb;
BEGIN
    INSERT INTO saves (generation, state, attempt)
    VALUES ((body ->> 'generation')::integer, body ->> 'state', body ->> 'by');
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON onerefresh_records
    FOR EACH ROW WHEN (NEW.key = 'acme') EXECUTE FUNCTION note();
"""


class PostgresPlace(ServerPlace):
    """With a standby that follows from a distance once there was a failover, which may then lose writes."""

    name = "PostgreSQL"

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self._resources = contextlib.ExitStack()
        self._server = self._resources.enter_context(PostgresServer.start())
        self._successor: PostgresServer | None = None
        self.relay = Relay(self._server.port, host=host)
        self.url = f"postgresql://postgres@{self.relay.address}/postgres"

    def watch(self) -> None:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(NOTING)

    def saves(self) -> list[Save]:
        return [Save(*row) for row in self._server.ask("SELECT generation, state, attempt FROM saves ORDER BY number")]

    def frozen(self) -> AbstractContextManager[None]:
        return self._server.frozen()

    def close(self) -> None:
        self.relay.close()
        self._resources.close()

    def _kill(self) -> None:
        self._server.kill()

    def _start(self) -> None:
        self._server.up()

    def prepare_successor(self) -> None:
        self._successor = self._resources.enter_context(self._server.standby())

    def _leave_successor_behind(self) -> None:
        assert self._successor is not None
        [(written,)] = self._server.ask("SELECT pg_current_wal_insert_lsn()::text")
        while self._successor.ask("SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", written) != [(True,)]:
            time.sleep(0.01)
        self._successor.cut_off()

    def _succeed(self) -> None:
        assert self._successor is not None
        self._server, self._successor = self._successor, None
        self._server.promote()
        self.relay.lead_to(self._server.port)
