"""What a newcomer sees when all is ready."""

import json
import uuid
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.markup import escape

from services.standalone.stack import PROJECT, Running


def curl_lines(running: Running, run_id: uuid.UUID, now: datetime) -> dict[str, str]:
    """Lines for a shell that work as they are, by title.

    Args:
        running: The stack.
        run_id: Of the example's Lunary run.
        now: Time of the example's Lunary event.

    """
    event = {
        "trace_id": "trace_example",
        "event_type": "thumbs_up_down",
        "metrics": {"vote": 1},
        "event_details": {"feedback": "Just what I needed"},
    }
    timestamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    run = {"event": "feedback", "runId": str(run_id), "timestamp": timestamp, "feedback": {"thumb": "up"}}
    return {
        "LangWatch: thumbs up": (
            f"curl {running.ingest_url}/api/track_event -H 'X-Auth-Token: {running.credentials.langwatch}' "
            f"-H 'Content-Type: application/json' -d '{json.dumps(event)}'"
        ),
        "Lunary: thumb up": (
            f"curl {running.ingest_url}/v1/runs/ingest -H 'Authorization: Bearer {running.credentials.lunary_public}' "
            f"-H 'Content-Type: application/json' -d '{json.dumps({'events': [run]})}'"
        ),
        "SQL": _sql_line(running.backends.clickhouse_url),
    }


def _sql_line(clickhouse_url: str) -> str:
    url = urlsplit(clickhouse_url)
    address = f"{url.scheme}://{url.hostname}:{url.port or 8123}/?database={url.path.strip('/') or 'default'}"
    sql = "SELECT source, trace_id, vote, comment FROM feedback_current FORMAT PrettyCompact"
    return f"curl '{address}' -u '{unquote(url.username or 'default')}:{unquote(url.password or '')}' -d '{sql}'"


def show(running: Running, console: Console) -> None:
    """Print addresses, keys and lines to copy. The keys are the user's own; nothing here goes to a log."""
    keys = running.credentials
    rows = {
        "ingest": running.ingest_url,
        "analytics": running.analytics_url,
        "ClickHouse": running.backends.clickhouse_url,
        "Redis": running.backends.redis_url,
        "project": PROJECT,
        "LangWatch key": keys.langwatch,
        "Lunary public key": keys.lunary_public,
        "Lunary private key": keys.lunary_private,
        "read key": keys.read,
    }
    console.print("\n[bold green]Plaudit is ready.[/bold green] Ctrl-C stops it; everything is kept.\n")
    width = max(map(len, rows))
    for name, value in rows.items():
        # What is to be copied must never be cut or broken, whatever the width of the terminal.
        console.print(f"[bold]{name:{width}}[/bold]  {escape(value)}", soft_wrap=True, highlight=False)
    for title, line in curl_lines(running, uuid.uuid4(), datetime.now(UTC)).items():
        console.print(f"\n[bold]{title}[/bold]")
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print()
