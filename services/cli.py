"""The command ``plaudit``: one subcommand a service or duty. Each imports only what it runs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared import settings as all_settings
from shared.errors import PlauditError
from shared.events import Source
from shared.keys import KeyKind

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.dead_letters import DeadLetter

app = typer.Typer(
    name="plaudit",
    help="LLM feedback from LangWatch and Lunary clients, exact in your own ClickHouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
keys_app = typer.Typer(help="API keys: who may do what in which project.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
letters_app = typer.Typer(
    help="What could not be stored: look at it, send it again, throw it away.", no_args_is_help=True
)
app.add_typer(letters_app, name="dead-letters")

console = Console()
errors = Console(stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def prefix_of(group: type[BaseSettings]) -> str:
    """What the environment variables of a group of settings begin with."""
    return group.model_config.get("env_prefix", all_settings.ENV_PREFIX)


def settings_table(*groups: type[BaseSettings]) -> str:
    """The settings of a service for its --help: name, default, meaning. Typer shows it below the options."""
    lines = ["[bold]Settings, from the environment[/bold]"]
    for group in groups:
        for name, field in group.model_fields.items():
            default = field.get_default(call_default_factory=True)
            shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
            lines.append(f"[cyan]{prefix_of(group)}{name.upper()}[/cyan] = {shown}\n\n    {field.description}")
    return "\n\n".join(lines)


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Folder for everything that is kept.")] = None,
    port: Annotated[int, typer.Option(help="Of the door; 0 picks a free one.")] = 8080,
    analytics_port: Annotated[int, typer.Option(help="Of the query API and the page; 0 picks a free one.")] = 8081,
    clickhouse_port: Annotated[int, typer.Option(help="Of the embedded ClickHouse; 0 picks a free one.")] = 8123,
    redis_port: Annotated[int, typer.Option(help="Of the embedded Valkey; 0 picks a free one.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    ready_file: Annotated[Path | None, typer.Option(help="Written when all is ready: URLs and keys, JSON.")] = None,
) -> None:
    """Everything on this machine: embedded Valkey and ClickHouse, the door, workers and analytics."""
    try:
        from services.standalone.up import UpOptions, run_up
    except ImportError as error:
        raise typer.BadParameter(
            f"the standalone stack is not installed ({error.name}): pip install 'plaudit[standalone]'"
        ) from error
    options = UpOptions(
        data=data,
        port=port,
        analytics_port=analytics_port,
        clickhouse_port=clickhouse_port,
        redis_port=redis_port,
        workers=workers,
        ready_file=ready_file,
    )
    raise typer.Exit(asyncio.run(run_up(options, console)))


@app.command(
    epilog=settings_table(
        all_settings.IngestSettings,
        all_settings.RelaySettings,
        all_settings.TraceSettings,
        all_settings.RedisSettings,
        all_settings.KeySettings,
        all_settings.TelemetrySettings,
        all_settings.TracingSettings,
        all_settings.OpenTelemetrySettings,
    )
)
def ingest() -> None:
    """The door: takes LangWatch's and Lunary's requests and appends their feedback to the log."""
    from services.ingest_api.main import run

    run()


@app.command(
    epilog=settings_table(
        all_settings.WorkerSettings,
        all_settings.RedisSettings,
        all_settings.ClickHouseSettings,
        all_settings.TelemetrySettings,
        all_settings.TracingSettings,
        all_settings.OpenTelemetrySettings,
    )
)
def worker() -> None:
    """A worker: from the log into ClickHouse. Start as many as you like."""
    from services.worker.main import run

    run()


@app.command(
    epilog=settings_table(
        all_settings.AnalyticsSettings, all_settings.ClickHouseSettings, all_settings.TelemetrySettings
    )
)
def analytics() -> None:
    """The reading side: query API and page."""
    from services.analytics.main import run

    run()


@app.command(
    epilog=settings_table(
        all_settings.AnalyticsSettings,
        all_settings.RedisSettings,
        all_settings.ClickHouseSettings,
        all_settings.TelemetrySettings,
    )
)
def refresh(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Derive everything anew once, and end.")] = False,
) -> None:
    """Keeps the tables up that answers are read from, where no `plaudit analytics` does."""
    from services.analytics.refreshing import run

    run(rebuild=rebuild)


@app.command(epilog=settings_table(all_settings.ClickHouseSettings, all_settings.RetentionSettings))
def migrate() -> None:
    """Brings ClickHouse's tables to this release. Any number of processes may do so at once."""
    from shared.cluster import Layout
    from shared.migrate import migrate as apply
    from shared.retention import apply_retention
    from shared.storage import connect

    settings = all_settings.ClickHouseSettings()
    applied = apply(settings)
    console.print(f"applied: {', '.join(applied)}" if applied else "the tables are up to date")
    with connect(settings) as client:
        for table in apply_retention(client, all_settings.RetentionSettings(), Layout.of(settings)):
            console.print(f"retention changed: {table}")


@keys_app.command("add")
def keys_add(
    project: Annotated[str, typer.Option(help="Made if it does not exist.")],
    kind: Annotated[KeyKind, typer.Option(help="What the key is for.")] = KeyKind.LANGWATCH,
    token: Annotated[
        str | None, typer.Option(help="A key that clients already hold, to take over; else a new one is made.")
    ] = None,
) -> None:
    """Makes a key, or takes one over, and prints it. It is kept hashed: this is the only time it is shown."""
    from shared.keys_admin import KeyAdmin

    with _clickhouse() as client:
        console.print(KeyAdmin(client).add(project, kind, token), soft_wrap=True, highlight=False)


@keys_app.command("list")
def keys_list(as_json: JsonFlag = False) -> None:
    """The keys that hold, by fingerprint."""
    from shared.keys_admin import KeyAdmin

    with _clickhouse() as client:
        rows = KeyAdmin(client).rows()
    if as_json:
        _print_json([{"fingerprint": r.fingerprint, "kind": r.kind, "projects": list(r.project_ids)} for r in rows])
        return
    table = Table("fingerprint", "kind", "projects")
    for row in rows:
        table.add_row(row.fingerprint, row.kind, ", ".join(row.project_ids))
    console.print(table)


@keys_app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="The token, or its fingerprint as listed.")]) -> None:
    """Ends a key: it stops working everywhere within 10 seconds."""
    from shared.keys_admin import KeyAdmin

    with _clickhouse() as client:
        row = KeyAdmin(client).revoke(key)
    console.print(f"revoked {row.fingerprint} ({row.kind}: {', '.join(row.project_ids)})")


ReasonOption = Annotated[str | None, typer.Option(help="Only those whose reason contains this.")]
ProjectOption = Annotated[str | None, typer.Option(help="Only those of this project.")]
SinceOption = Annotated[str | None, typer.Option(help="Only from then on: a date or time (UTC), or an age like 12h.")]
UntilOption = Annotated[str | None, typer.Option(help="Only before then: a date or time (UTC), or an age like 12h.")]
AllFlag = Annotated[bool, typer.Option("--all", help="All of them, where nothing else says which.")]


@letters_app.command("list")
def letters_list(
    reason: ReasonOption = None,
    project: ProjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows shown at most, the newest; --json has no limit.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """The dead letters, oldest first, without their content."""
    from services.operate.dead_letters import render, summary

    letters = _chosen_letters([], reason, project, since, until)
    if as_json:
        _print_json([summary(letter) for letter in letters])
        return
    console.print(render(letters[-limit:]))
    console.print(f"{len(letters):,} dead letters" + (f", the newest {limit:,} shown" if len(letters) > limit else ""))


@letters_app.command("show")
def letters_show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As listed.")], as_json: JsonFlag = False
) -> None:
    """One dead letter with all that was kept of it."""
    from services.operate.dead_letters import whole

    shown = whole(_chosen_letters([letter_id], None, None, None, None)[0])
    if as_json:
        _print_json(shown)
        return
    content = shown.pop("content")
    for name, value in shown.items():
        console.print(f"[cyan]{name}[/cyan]", value, markup=name != "reason", highlight=False, soft_wrap=True)
    for text in content:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@letters_app.command("replay")
def letters_replay(
    ids: Annotated[list[str] | None, typer.Argument(help="As listed.")] = None,
    reason: ReasonOption = None,
    project: ProjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: AllFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Sends them through the front of the worker again, with the same identity: twice changes nothing."""
    from rich.progress import Progress

    from services.operate.dead_letters import DeadLetterDesk

    letters = _chosen_letters(ids or [], reason, project, since, until, every=every)
    with Progress(console=errors, disable=as_json or not errors.is_terminal) as progress:
        task = progress.add_task("replaying", total=len(letters))
        desk = DeadLetterDesk(_servers()[0])
        done = asyncio.run(desk.replay(letters, lambda count: progress.advance(task, count)))
    if as_json:
        _print_json({"replayed": done.replayed, "not_replayable": done.no_envelopes})
    else:
        console.print(f"replayed {done.replayed:,}")
        for name in done.no_envelopes:
            errors.print(f"{name} is no envelope of ours: it can be shown and discarded, not replayed", markup=False)
    raise typer.Exit(1 if ids and done.no_envelopes else 0)


@letters_app.command("discard")
def letters_discard(
    ids: Annotated[list[str] | None, typer.Argument(help="As listed.")] = None,
    reason: ReasonOption = None,
    project: ProjectOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: AllFlag = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Throws them away for good."""
    from services.operate.dead_letters import DeadLetterDesk

    letters = _chosen_letters(ids or [], reason, project, since, until, every=every)
    if letters and not yes:
        typer.confirm(f"Throw away {len(letters):,} dead letters for good?", abort=True)
    gone = asyncio.run(DeadLetterDesk(_servers()[0]).discard([letter.id for letter in letters]))
    console.print(f"discarded {gone:,}")


def _chosen_letters(
    ids: list[str],
    reason: str | None,
    project: str | None,
    since: str | None,
    until: str | None,
    *,
    every: bool = True,
) -> list[DeadLetter]:
    from services.operate.dead_letters import Choice, DeadLetterDesk, moment

    now = datetime.now(UTC)
    choice = Choice(
        frozenset(ids), reason, project, moment(since, now) if since else None, moment(until, now) if until else None
    )
    if choice.anything and not every:
        raise typer.BadParameter("say which: ids, --reason, --project, --since, --until, or --all")
    letters = asyncio.run(DeadLetterDesk(_servers()[0]).choose(choice))
    if missing := choice.ids - {letter.id for letter in letters}:
        raise typer.BadParameter(f"no such dead letter: {', '.join(sorted(missing))}")
    return letters


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Backlog, pending, dead letters, age of the oldest unprocessed entry, end-to-end delay."""
    from services.operate.status import render, take_status

    state = asyncio.run(take_status(*_servers()))
    if as_json:
        _print_json(state.as_dict())
    else:
        console.print(render(state))


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Checks versions and settings of Redis and ClickHouse and says what to change."""
    from services.operate.doctor import examine, render

    findings = asyncio.run(examine(*_servers()))
    if as_json:
        _print_json([finding.as_dict() for finding in findings])
    else:
        console.print(render(findings))
    raise typer.Exit(1 if any(finding.level == "error" for finding in findings) else 0)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="One event of the vendor's format a line.")],
    source: Annotated[Source, typer.Option(help="Whose format it is.")],
    project: Annotated[str, typer.Option(help="Where the feedback belongs.")],
    at: Annotated[
        datetime | None, typer.Option(help="When lines without a time count as received (UTC); else they are refused.")
    ] = None,
    most_waiting: Annotated[int, typer.Option(min=1, help="Entries in the log above which it waits.")] = 100_000,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on where it was interrupted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Backfills NDJSON through the same log and identity as live feedback. Twice changes nothing; resumable."""
    from services.operate.backfill import ImportOptions, import_file, shown
    from shared.telemetry import configure_logging

    configure_logging(all_settings.TelemetrySettings(), "import")
    timeless_at = int(at.replace(tzinfo=UTC).timestamp() * 1_000_000) if at else None
    options = ImportOptions(file, source, project, timeless_at, most_waiting, restart)
    with _clickhouse() as client:
        _check_project(client, project)
    now = time.time_ns() // 1000
    with Progress(*Progress.get_default_columns(), console=errors, transient=True, disable=as_json) as progress:
        task = progress.add_task("importing", total=file.stat().st_size)
        imported = asyncio.run(import_file(_servers()[0], options, now, lambda done: progress.advance(task, done)))
    if as_json:
        _print_json(imported.as_dict())
    else:
        console.print(shown(imported), highlight=False)
    raise typer.Exit(1 if imported.faulty else 0)


@app.command()
def erase(
    project: Annotated[str, typer.Option(help="Whose project it is.")],
    user: Annotated[str | None, typer.Option(help="All feedback of this end user.")] = None,
    trace: Annotated[str | None, typer.Option(help="All feedback on this trace or run.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Erases what was received until now from everywhere, verifies by counting, and reports."""
    from services.operate.erase import erase as run
    from shared.erasures import ErasureKind
    from shared.telemetry import configure_logging

    configure_logging(all_settings.TelemetrySettings(), "erase")
    if (user is None) == (trace is None):
        raise typer.BadParameter("name one of --user and --trace")
    kind, name = (ErasureKind.USER, user) if user is not None else (ErasureKind.TRACE, trace)
    assert name is not None
    if not yes:
        typer.confirm(
            f"Erase all feedback of {kind} {name!r} in project {project!r}? There is no way back.", abort=True
        )
    with errors.status("erasing") as shown:
        erased = asyncio.run(
            run(*_servers(), project, kind, name, report=lambda step: shown.update(f"erasing: {step}"))
        )
    if as_json:
        _print_json(erased.as_dict())
    else:
        deleted = ", ".join(f"{count:,} rows of {table}" for table, count in erased.deleted.items()) or "no rows"
        console.print(f"{erased.events:,} events erased: {deleted}, {erased.dead_letters:,} dead letters")
        console.print(
            f"What was received before {erased.before} UTC and is still under way will be dropped when it arrives."
            if erased.complete
            else f"[red]Some is left: {erased.left}; run it again.[/red]"
        )
    raise typer.Exit(0 if erased.complete else 1)


def _check_project(client: Client, project: str) -> None:
    known = client.query("SELECT project_id FROM projects FINAL ORDER BY project_id").result_rows
    if (project,) not in [tuple(row) for row in known]:
        names = ", ".join(str(row[0]) for row in known)
        raise typer.BadParameter(f"no project is called {project!r}; there are: {names}")


@app.command()
def loadgen(
    events: Annotated[int, typer.Option(help="Acts of feedback in distinct requests.")] = 10_000,
    rate: Annotated[float, typer.Option(help="Events a second, open loop; 0 = flat out.")] = 0.0,
    connections: Annotated[int, typer.Option(help="Connections to the door.")] = 64,
    mix: Annotated[str, typer.Option(help="Shares of the two formats.")] = "langwatch=0.6,lunary=0.4",
    duplicates: Annotated[float, typer.Option(help="Share of requests that are sent again, byte for byte.")] = 0.1,
    undo: Annotated[float, typer.Option(help="Share of acts that take a vote back.")] = 0.1,
    corrections: Annotated[float, typer.Option(help="Share of acts that correct an earlier one.")] = 0.05,
    lunary_batch: Annotated[
        str | None, typer.Option(help="Sizes of Lunary requests and their weights; default: as the SDKs send.")
    ] = None,
    lunary_other: Annotated[
        float, typer.Option(help="Share of the events in Lunary requests that are runs and chats without feedback.")
    ] = 0.2,
    traces: Annotated[
        int | None, typer.Option(help="Traces that the acts fall on, some much more than others.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed sends the same requests.")] = 1,
    processes: Annotated[int, typer.Option(help="Sending processes.")] = 1,
    verify: Annotated[bool, typer.Option("--verify", help="Read ClickHouse afterwards and count.")] = False,
    verify_timeout: Annotated[float, typer.Option(help="Seconds to wait for what was acknowledged.")] = 120.0,
    request_timeout: Annotated[float, typer.Option(help="Seconds after which an answer counts as lost.")] = 30.0,
    patience: Annotated[float, typer.Option(help="Seconds without any connection after which to give up.")] = 120.0,
    verify_only: Annotated[Path | None, typer.Option(help="Judge the ledger of an earlier run; send nothing.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="Keep what was sent and answered in this file, fsynced.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="As written by `plaudit up`: URLs and keys.")] = None,
    ingest_url: Annotated[str | None, typer.Option(help="The door, where there is no ready file.")] = None,
    clickhouse_url: Annotated[str | None, typer.Option(help="ClickHouse, to verify.")] = None,
    project: Annotated[str | None, typer.Option(help="The project that the keys belong to.")] = None,
    langwatch_key: Annotated[str | None, typer.Option(help="A LangWatch key.")] = None,
    lunary_key: Annotated[str | None, typer.Option(help="A Lunary public key.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Sends feedback as people and SDKs do; with --verify counts what arrived: lost, doubled, wrong must be 0."""
    from services.loadgen.main import run
    from services.loadgen.options import DEFAULT_LUNARY_BATCH, LoadOptions
    from services.standalone.data_folder import READY_FILE, default_folder

    if ready_file is None and ingest_url is None and clickhouse_url is None:
        ready_file = default_folder() / READY_FILE
    options = LoadOptions(
        events=events,
        rate=rate,
        connections=connections,
        mix=mix,
        lunary_batch=lunary_batch or DEFAULT_LUNARY_BATCH,
        lunary_other=lunary_other,
        duplicates=duplicates,
        undo=undo,
        corrections=corrections,
        traces=traces,
        seed=seed,
        processes=processes,
        verify=verify,
        verify_timeout=verify_timeout,
        request_timeout=request_timeout,
        patience=patience,
        verify_only=verify_only,
        ledger=ledger,
        ready_file=ready_file,
        ingest_url=ingest_url,
        clickhouse_url=clickhouse_url,
        project=project,
        langwatch_key=langwatch_key,
        lunary_key=lunary_key,
        json=as_json,
    )
    raise typer.Exit(run(options, console))


def _clickhouse() -> Client:
    from shared.storage import connect

    return connect(_servers()[1])


def _servers() -> tuple[all_settings.RedisSettings, all_settings.ClickHouseSettings]:
    """Where the environment says; where it is silent, the standalone stack on this machine, if one runs."""
    from services.standalone.data_folder import READY_FILE, default_folder

    found: dict[str, Any] = {}
    ready_file = Path(os.environ.get(f"{all_settings.ENV_PREFIX}READY_FILE", default_folder() / READY_FILE))
    if ready_file.exists():
        found = json.loads(ready_file.read_text(encoding="utf-8"))
    # What the environment says is left to it: an argument would win over it.
    chosen = {
        name: {name: found[name]}
        if name in found and f"{all_settings.ENV_PREFIX}{name.upper()}" not in os.environ
        else {}
        for name in ("redis_url", "clickhouse_url")
    }
    return all_settings.RedisSettings(**chosen["redis_url"]), all_settings.ClickHouseSettings(
        **chosen["clickhouse_url"]
    )


def _print_json(value: Any) -> None:
    console.print_json(json.dumps(value))


def main() -> None:
    """Runs the command; foreseen errors become one line on standard error and exit status 1."""
    # What a driver has to say comes out as our own error; its log would say it twice.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        app()
    except ValidationError as error:
        own_prefix = prefix_of(getattr(all_settings, error.title, BaseSettings)) or all_settings.ENV_PREFIX
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            prefix = own_prefix if name and not name.startswith(own_prefix) else ""
            errors.print(f"[red]{prefix}{name}[/red]: {problem['msg']}" if name else f"[red]{problem['msg']}[/red]")
        raise SystemExit(2) from None
    except PlauditError as error:
        errors.print(f"[red]{error}[/red]")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
