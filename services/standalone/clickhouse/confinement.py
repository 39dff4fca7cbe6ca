"""The engine's own configuration: what its one user may do, and how much memory it takes.

chDB is made for trusted callers and by default grants everything, files and network included. Started with
a configuration file that names a users file, it judges every statement by these grants instead.
"""

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

_GRANTS: Final = (
    (
        "GRANT CHECK, SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SHOW DICTIONARIES, SELECT, INSERT, ALTER, "
        "CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, DROP, UNDROP TABLE, TRUNCATE, "
        "OPTIMIZE, KILL QUERY, dictGet ON *.*"
    ),
    "GRANT SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM FLUSH, SYSTEM DROP CACHE, SYSTEM SYNC REPLICA ON *.*",
)
_ENGINES: Final = (
    *(
        f"{kind}MergeTree"
        for kind in ("", "Replacing", "Summing", "Aggregating", "Collapsing", "VersionedCollapsing", "Coalescing")
    ),
    *("Memory", "Null", "Log", "TinyLog", "StripeLog", "Set", "Join", "Buffer", "Merge"),
    *("Atomic", "View", "MaterializedView"),
)
# Settings that read files, call out, swap the parser (and so its lexer) or are code in a string: nobody may change
# them.
_PINNED: Final = (
    "dialect",
    "format_schema",
    "format_template_resultset",
    "format_template_row",
    "format_avro_schema_registry_url",
    "allow_python_table_function",
    "allow_experimental_eval_table_function",
    "additional_table_filters",
    "additional_result_filter",
    "parallel_replicas_custom_key",
    "schema_inference_hints",
    "merge_tree_disk",
    "merge_tree_storage_policy",
)
# Any of these in SHOW GRANTS means that the configuration was not taken.
FORBIDDEN_GRANTS: Final = ("FILE", "URL", "SOURCES", "REMOTE", "S3", "BACKUP", "ALL ON", "CREATE FUNCTION")


def users_xml() -> str:
    """The users file: one user without a password (nothing but this process reaches the engine)."""
    pinned = "".join(f"<{name}><const/></{name}>" for name in _PINNED)
    grants = (*_GRANTS, *(f"GRANT TABLE ENGINE ON {name}" for name in _ENGINES))
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
    return (
        "<clickhouse><profiles><default><allow_python_table_function>0</allow_python_table_function>"
        f"<constraints>{pinned}</constraints></default></profiles><quotas><default/></quotas>"
        "<users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile>"
        f"<quota>default</quota><grants>{queries}</grants></default></users></clickhouse>\n"
    )


def config_xml(users_file: Path, max_memory: int) -> str:
    """The server file.

    Args:
        users_file: Where :func:`users_xml` was written.
        max_memory: Bytes that all queries and caches together may take.

    """
    return (
        f"<clickhouse><users_config>{escape(str(users_file))}</users_config>"
        f"<max_server_memory_usage>{max_memory}</max_server_memory_usage>"
        "<access_control_improvements><table_engines_require_grant>true</table_engines_require_grant>"
        "</access_control_improvements>"
        # A list that is there but names no real host lets no URL out.
        "<remote_url_allow_hosts><host>nowhere.invalid</host></remote_url_allow_hosts></clickhouse>\n"
    )


def write_config(folder: Path, max_memory: int) -> Path:
    """Write both files (replacing older ones) and return the path of the server file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    users = folder / "users.xml"
    users.write_text(users_xml(), encoding="utf-8")
    config = folder / "config.xml"
    config.write_text(config_xml(users, max_memory), encoding="utf-8")
    return config


def default_max_memory(physical: int) -> int:
    """A quarter of the machine's memory, at least 1 GiB and at most 4 GiB (bytes)."""
    gib = 1 << 30
    return min(4 * gib, max(gib, physical // 4))
