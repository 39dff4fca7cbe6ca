"""One insert: what counts as stored, and whose fault it is when it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from services.worker.faults import EncodingError, Fault, fault_of
from services.worker.prepare import prepare
from services.worker.sink import EventSink
from shared.errors import StoreUnavailableError
from shared.settings import ClickHouseSettings
from shared.storage import COLUMN_TYPES, connect
from tests.unit.worker.doubles import ManualClock, entry, rows, thumb

pytestmark = pytest.mark.integration


class MaintenancePage(BaseHTTPRequestHandler):
    """What a balancer shows in place of ClickHouse, cheerfully."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        page = b"<html>We will be right back.</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_POST  # noqa: N815 -- the library's own name

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def maintenance(port: int = 0) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", port), MaintenancePage)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_the_columns_given_with_an_insert_are_those_of_the_table(database: ClickHouseSettings) -> None:
    client = connect(database)
    described = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'feedback_events' ORDER BY position"
    )
    client.close()
    assert {row[0]: row[1] for row in described.result_rows} == COLUMN_TYPES


def test_a_maintenance_page_is_never_taken_for_a_rows_fault() -> None:
    with maintenance() as port:
        settings = ClickHouseSettings.model_validate({"clickhouse_url": f"http://default:@127.0.0.1:{port}/plaudit"})
        sink = EventSink(settings, time.monotonic)
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- any type, as long as it is not blamed on the row
            sink.insert(rows(2))
    assert fault_of(caught.value) is not Fault.ROW


def test_a_maintenance_page_that_answers_an_insert_has_stored_nothing(
    database: ClickHouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = EventSink(database, ManualClock())
    sink.insert(rows(1))
    client: Any = sink._idle.get_nowait()
    with maintenance() as port:
        monkeypatch.setattr(client._backend, "_base_url", f"http://127.0.0.1:{port}/")
        sink._idle.put(client)
        with pytest.raises(StoreUnavailableError, match="something else answered"):
            sink.insert(rows(1))


def test_a_row_that_cannot_be_encoded_is_told_apart(database: ClickHouseSettings) -> None:
    sink = EventSink(database, time.monotonic)
    for received_at in (2**63 + 1, -1):
        bad = prepare([entry(thumb("good")), entry(thumb("bad"), number=2, received_at=received_at)], set()).rows
        with pytest.raises(EncodingError):
            sink.insert(bad)
    sink.insert(rows(3))
    sink.close()


def test_the_table_is_known_by_its_uuid_and_a_restored_one_is_another(database: ClickHouseSettings) -> None:
    clock = ManualClock()
    sink = EventSink(database, clock)
    seen = [sink.table_uuid]
    sink.insert(rows(1))
    seen.append(sink.table_uuid)
    client = connect(database)
    client.command("CREATE TABLE restored AS feedback_events")
    client.command("RENAME TABLE feedback_events TO old, restored TO feedback_events")
    client.close()
    for seconds in (0.0, EventSink.UUID_TRUSTED_FOR):
        clock.now += seconds
        sink.insert(rows(1))
        seen.append(sink.table_uuid)
    sink.close()
    # Long after the last insert nobody knows which table it is by now.
    clock.now += 2 * EventSink.UUID_TRUSTED_FOR
    assert sink.table_uuid is None
    assert seen[0] is None
    assert seen[1] == seen[2] is not None
    assert seen[3] not in seen[:3]
