"""How long feedback is kept: the settings, as TTLs of the tables. ClickHouse deletes what is older while it merges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.cluster import Layout
    from shared.settings import RetentionSettings

log = structlog.get_logger()

_AGE_OF = {
    "feedback_events": "received_at",
    "feedback_by_trace": "last_received",
    "feedback_resolved": "received_at",
    "trace_attributes": "learnt_at",
    "trace_aliases": "learnt_at",
    "trace_aliases_by_trace": "learnt_at",
}
"""By table, the receipt that its rows are kept after."""

_SETTINGS = {
    # Old parts are not rewritten at once for it: they follow with their next merge.
    "materialize_ttl_after_modify": 0,
}


def apply_retention(client: Client, settings: RetentionSettings, layout: Layout) -> list[str]:
    """Brings the TTLs to the settings; returns the tables that were changed. Raises ClickHouseError.

    Events are kept and deleted one by one: a trace whose deciding vote has passed has no vote any more.
    """
    changed = []
    for table, column in _AGE_OF.items():
        definition = _definition(client, layout.home, table)
        own = layout.own(table)
        table_part, _, ttl = definition.rpartition("\nTTL ")
        if f"toIntervalDay({settings.retention_days})" not in ttl:
            wanted = f"toDateTime({column}) + toIntervalDay({settings.retention_days})"
            client.command(f"ALTER TABLE {own} MODIFY TTL {wanted}", settings=_SETTINGS)
            changed.append(table)
        raw = next((line for line in table_part.splitlines() if line.lstrip().startswith("`raw`")), None)
        if raw is not None and f"toIntervalDay({settings.retention_raw_days})" not in raw:
            wanted = f"toDateTime(received_at) + toIntervalDay({settings.retention_raw_days})"
            client.command(f"ALTER TABLE {own} MODIFY COLUMN raw String TTL {wanted}", settings=_SETTINGS)
            changed.append(f"{table}.raw")
    if changed:
        log.info(
            "retention_changed", changed=changed, days=settings.retention_days, raw_days=settings.retention_raw_days
        )
    return changed


def _definition(client: Client, database: str, table: str) -> str:
    rows = client.query(
        "SELECT formatQuery(create_table_query) FROM system.tables "
        "WHERE database = {database:String} AND name = {name:String}",
        {"database": database, "name": table},
    ).result_rows
    return str(rows[0][0])
