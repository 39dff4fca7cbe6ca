"""``python -m services.standalone.clickhouse --path DIR --host 127.0.0.1 --port N``.

User and password come from PLAUDIT_EMBEDDED_CLICKHOUSE_USER and _PASSWORD, never from the command line, where
every user of the machine could read them.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvicorn

from services.standalone.clickhouse.confinement import default_max_memory
from services.standalone.clickhouse.engine import Engine, EngineNotConfinedError
from services.standalone.clickhouse.protocol import Credentials
from services.standalone.clickhouse.sandbox import confine
from services.standalone.clickhouse.server import ClickHouseHttp, ServerOptions
from services.standalone.locking import FolderLock, FolderLockedError
from shared.settings import TelemetrySettings
from shared.telemetry import configure_logging

log = structlog.get_logger()

_MIB = 1 << 20
_DRAIN_SECONDS = 10
_KEEP_ALIVE_SECONDS = 60


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.standalone.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="folder of the data; locked while the server runs")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="port to listen on (default: %(default)s)")
    parser.add_argument("--database", default="plaudit", help="created where it is missing (default: %(default)s)")
    parser.add_argument("--max-memory", type=int, help="bytes for the engine (default: a quarter of RAM, 1 to 4 GiB)")
    parser.add_argument(
        "--max-request", type=int, default=512 * _MIB, help="bytes of one request (default: %(default)s)"
    )
    return parser.parse_args()


def _credentials() -> Credentials | None:
    password = os.environ.pop("PLAUDIT_EMBEDDED_CLICKHOUSE_PASSWORD", "")
    user = os.environ.pop("PLAUDIT_EMBEDDED_CLICKHOUSE_USER", "default")
    return Credentials(user, password) if password else None


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.set_inheritable(False)
    return listener


def _serve(arguments: argparse.Namespace, credentials: Credentials | None) -> None:
    path: Path = arguments.path.resolve()
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with FolderLock(path), _listen(arguments.host, arguments.port) as listener:
        os.chdir(path)
        # Before the engine: its threads inherit what holds when they are started.
        confined = confine(path)
        with Engine(path, arguments.max_memory or default_max_memory(physical)) as engine:
            engine.create_database(arguments.database)
            port = listener.getsockname()[1]
            options = ServerOptions(credentials, port, arguments.max_request)
            config = uvicorn.Config(
                ClickHouseHttp(engine, options).app(),
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
            log.info("embedded_clickhouse_ready", version=engine.version, port=port, kernel_sandbox=confined)
            uvicorn.Server(config).run(sockets=[listener])


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    arguments = _arguments()
    credentials = _credentials()
    configure_logging(TelemetrySettings(), "clickhouse")
    # uvicorn hands the signal on once it has drained; this turns it into an orderly way out of every `with`.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        _serve(arguments, credentials)
    except SystemExit:
        log.info("embedded_clickhouse_stopped")
    except FolderLockedError as error:
        log.error("data_folder_locked", folder=str(error.folder), holder=error.holder)
        return 1
    except EngineNotConfinedError as error:
        log.error("engine_not_confined", reason=str(error))
        return 1
    except OSError as error:
        log.error("cannot_listen", host=arguments.host, port=arguments.port, reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # The engine's threads do not end by themselves, and what is acknowledged is already in its files.
    os._exit(status)
