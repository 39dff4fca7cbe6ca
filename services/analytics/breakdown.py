"""Where it goes well and where not: the counts of a period by a column, a detail or a metric."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from .errors import bad_parameter
from .filters import LATEST_ROWS, Condition, Filters
from .summary import COUNTED, COUNTS, rated
from .warehouse import Row, Warehouse

COLUMNS = ("source", "event_type", "user_id", "thread_id")
TRACED = ("model", "prompt", "version", "run", "user")
"""What is known of the trace rather than of the feedback: from runs and spans that passed the door. The user is the
feedback's own, where it told one.
"""

MOST_GROUPS = 200

_KEYS_OFFERED = 100


@dataclass(frozen=True, slots=True)
class Dimension:
    """What to group by: a column, or with ``key`` one of the details or metrics."""

    kind: str
    key: str | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ApiError."""
        kind, colon, key = text.partition(":")
        if not colon and kind in COLUMNS + TRACED:
            return cls(kind)
        if kind in ("detail", "metric") and key:
            return cls(kind, key)
        raise bad_parameter("by", f"one of {', '.join(COLUMNS + TRACED)}, detail:<key>, metric:<key>")

    def expression(self, condition: Condition) -> str:
        """The value of a row, NULL where it has none."""
        if self.kind == "detail":
            condition.add("1", key=self.key)
            return "details[{key:String}]"
        if self.kind == "metric":
            condition.add("1", key=self.key)
            return "if(mapContains(metrics, {key:String}), metrics[{key:String}], NULL)"
        if self.kind == "user":
            return "coalesce(said.user_id, nullIf(traced.traced_user, ''))"
        if self.kind in TRACED:
            return f"nullIf(traced.{'name' if self.kind == 'run' else self.kind}, '')"
        return f"toNullable({self.kind})"

    def rows(self, condition: Condition) -> tuple[str, str]:
        """Where the rows are, and what they must meet there."""
        if self.kind in TRACED:
            return _WITH_TRACES.format(table=LATEST_ROWS, condition=condition.sql), "1"
        return LATEST_ROWS, condition.sql


_WITH_TRACES = """
(SELECT * FROM {table} WHERE {condition}) AS said
LEFT ANY JOIN (
    SELECT source AS traced_source, trace_id AS traced_id, name, model, prompt, version, user_id AS traced_user
    FROM traces WHERE project_id = {{project:String}}
) AS traced ON traced.traced_source = said.source AND traced.traced_id = said.trace_id
"""


# What a trace decides counts in the group of the event that decides it.
_GROUPS = """
SELECT least(place, {{limit:UInt32}} + 1) AS position, position > {{limit:UInt32}} AS rest,
       if(rest, NULL, any(label)) AS value, {sums}, sum(g.total) AS metric_total, sum(g.told) AS metric_count,
       count() AS groups
FROM (
    SELECT *, row_number() OVER (ORDER BY traces DESC, events DESC, label ASC NULLS LAST) AS place
    FROM (
        SELECT {label} AS label, {counted}, {total} AS total, {told} AS told
        FROM {table} WHERE {condition} GROUP BY label
    )
) AS g
GROUP BY position
ORDER BY position
"""


async def breakdown(
    warehouse: Warehouse, project: str, filters: Filters, dimension: Dimension, limit: int
) -> dict[str, Any]:
    """Raises ApiError. The groups with most traces; what is in none of them is under ``other``."""
    condition = filters.condition(project)
    value = dimension.expression(condition)
    if dimension.kind == "metric":
        value = await _binned(warehouse, condition, value, limit)
    metric = "metrics[{key:String}]" if dimension.kind == "metric" else "0"
    told = "countIf(mapContains(metrics, {key:String}))" if dimension.kind == "metric" else "0"
    table, wanted = dimension.rows(condition)
    sql = _GROUPS.format(
        sums=", ".join(f"sum(g.{name}) AS {name}" for name in COUNTS),
        label=value,
        counted=COUNTED,
        total=f"sum({metric})",
        told=told,
        table=table,
        condition=wanted,
    )
    rows = await warehouse.rows(sql, {**condition.parameters, "limit": limit})
    groups = [_group(row) for row in rows if not row["rest"]]
    rest = [row for row in rows if row["rest"]]
    by = f"{dimension.kind}:{dimension.key}" if dimension.key else dimension.kind
    return {"by": by, "groups": groups, "other": _other(rest[0]) if rest else None}


async def _binned(warehouse: Warehouse, condition: Condition, value: str, limit: int) -> str:
    """A number as its own text where there are few distinct ones, else as one of ten ranges of like size."""
    found = await warehouse.rows(
        f"SELECT uniqUpTo(100)(v) AS distinct, arrayDistinct(quantilesExact({_DECILES})(v)) AS bounds "  # noqa: S608
        f"FROM (SELECT {value} AS v FROM {LATEST_ROWS} WHERE {condition.sql}) WHERE isNotNull(v)",
        condition.parameters,
    )
    if not found or found[0]["distinct"] <= min(limit, 100):
        return f"toString({value})"
    bounds = sorted(found[0]["bounds"])
    condition.add("1", bounds=bounds, labels=_labels(bounds))
    return _RANGE.format(value=value)


_RANGE = """
if(isNull({value}), NULL, transform(
    roundDown(assumeNotNull({value}), {{bounds:Array(Float64)}}),
    {{bounds:Array(Float64)}}, {{labels:Array(String)}}, ''
))
"""

_DECILES = ", ".join(f"{tenth / 10}" for tenth in range(10))


def _labels(bounds: list[float]) -> list[str]:
    ends = [f"{bound:g}" for bound in bounds]
    return [f"{low} to {high}" for low, high in pairwise(ends)] + [f"{ends[-1]} and more"]


def _group(row: Row) -> dict[str, Any]:
    mean = row["metric_total"] / row["metric_count"] if row["metric_count"] else None
    return {"value": row["value"], **rated(row), "mean": mean}


def _other(row: Row) -> dict[str, Any]:
    return {"groups": row["groups"], **rated(row)}


_KEYS = """
SELECT 'detail' AS kind, arrayJoin(mapKeys(details)) AS name, count() AS events
FROM {table} WHERE {condition} GROUP BY name ORDER BY events DESC, name LIMIT {{most:UInt32}}
UNION ALL
SELECT 'metric' AS kind, arrayJoin(mapKeys(metrics)) AS name, count() AS events
FROM {table} WHERE {condition} GROUP BY name ORDER BY events DESC, name LIMIT {{most:UInt32}}
"""


async def keys(warehouse: Warehouse, project: str, filters: Filters) -> dict[str, list[str]]:
    """The names of details and metrics in a period, those of most events first. Raises ApiError."""
    condition = filters.condition(project)
    sql = _KEYS.format(table=LATEST_ROWS, condition=condition.sql)
    rows = await warehouse.rows(sql, {**condition.parameters, "most": _KEYS_OFFERED})
    return {
        "details": [row["name"] for row in rows if row["kind"] == "detail"],
        "metrics": [row["name"] for row in rows if row["kind"] == "metric"],
    }


_METRICS = """
SELECT metric.1 AS name, event_type, count() AS count, avg(metric.2) AS mean,
       quantilesExact(0.5, 0.9, 0.99)(metric.2) AS percentiles, min(metric.2) AS least, max(metric.2) AS most
FROM {table} ARRAY JOIN CAST(metrics, 'Array(Tuple(String, Float64))') AS metric
WHERE {condition}
GROUP BY name, event_type ORDER BY count DESC, name, event_type LIMIT {{most_metrics:UInt32}}
"""


async def metrics(warehouse: Warehouse, project: str, filters: Filters) -> dict[str, Any]:
    """Every metric by event type: count, mean, percentiles (each a value that was sent). Raises ApiError."""
    condition = filters.condition(project)
    sql = _METRICS.format(table=LATEST_ROWS, condition=condition.sql)
    rows = await warehouse.rows(sql, {**condition.parameters, "most_metrics": MOST_GROUPS})
    return {
        "metrics": [
            {
                "name": row["name"],
                "event_type": row["event_type"],
                "count": row["count"],
                "mean": row["mean"],
                **dict(zip(("p50", "p90", "p99"), row["percentiles"], strict=True)),
                "min": row["least"],
                "max": row["most"],
            }
            for row in rows
        ]
    }
