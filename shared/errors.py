"""What can go wrong, as types that carry data. What may be retried is another type than what may not."""

from __future__ import annotations


class PlauditError(Exception):
    """Root of all errors that Plaudit raises on purpose."""


class EnvelopeError(PlauditError):
    """A stream entry that no release of Plaudit wrote. Never retried: it becomes a dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidEventError(PlauditError):
    """An event that its vendor's contract refuses. ``message`` is in the vendor's own words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class MalformedJSONError(PlauditError):
    """A text that the vendor's JSON reader refuses, or that nests deeper than we accept."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoreUnavailableError(PlauditError):
    """A server did not do what was asked, for no fault of the request: try again later."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store}: {reason}")
        self.store = store
        self.reason = reason


class MigrationError(PlauditError):
    """The tables are not what this release expects. ``migration`` names the file at fault."""

    def __init__(self, migration: str, reason: str) -> None:
        super().__init__(f"{migration}: {reason}")
        self.migration = migration
        self.reason = reason


class TracingError(PlauditError):
    """Traces are wanted and cannot be made. ``missing`` names the package that is not there."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"PLAUDIT_OTEL_TRACING is on, but {missing} is not installed: pip install 'plaudit[otel]', or switch it off"
        )
        self.missing = missing
