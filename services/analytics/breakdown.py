"""Where it goes well and where not: the counts of a period by a column, a detail or a metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from .errors import bad_parameter
from .filters import LATEST_ROWS, Condition, Filters
from .statistics import satisfaction
from .summary import COUNTED, COUNTS, rated
from .warehouse import Row, Warehouse

COLUMNS = ("source", "event_type", "user_id", "thread_id")
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
        if not colon and kind in COLUMNS:
            return cls(kind)
        if kind in ("detail", "metric") and key:
            return cls(kind, key)
        raise bad_parameter("by", f"one of {', '.join(COLUMNS)}, detail:<key>, metric:<key>")

    def expression(self, condition: Condition) -> str:
        """The value of a row, NULL where it has none."""
        if self.kind == "detail":
            condition.add("1", key=self.key)
            return "details[{key:String}]"
        if self.kind == "metric":
            condition.add("1", key=self.key)
            return "if(mapContains(metrics, {key:String}), metrics[{key:String}], NULL)"
        return f"toNullable({self.kind})"


# What a trace decides counts in the group of the event that decides it.
_GROUPS = """
SELECT if(place > {{limit:UInt32}}, NULL, value) AS value, place > {{limit:UInt32}} AS rest,
       {sums}, sum(total) AS total, sum(having) AS having, count() AS groups
FROM (
    SELECT *, row_number() OVER (ORDER BY traces DESC, events DESC, value ASC NULLS LAST) AS place
    FROM (
        SELECT {value} AS value, {counted}, {total} AS total, {having} AS having
        FROM {table} WHERE {condition} GROUP BY value
    )
)
GROUP BY value, rest, if(rest, 0, place) AS place
ORDER BY place
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
    having = "countIf(mapContains(metrics, {key:String}))" if dimension.kind == "metric" else "0"
    sql = _GROUPS.format(
        sums=", ".join(f"sum({name}) AS {name}" for name in COUNTS),
        value=value,
        counted=COUNTED,
        total=f"sum({metric})",
        having=having,
        table=LATEST_ROWS,
        condition=condition.sql,
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
    return f"if(isNull({value}), NULL, transform(roundDown(assumeNotNull({value}), {{bounds:Array(Float64)}}), {{bounds:Array(Float64)}}, {{labels:Array(String)}}, ''))"


_DECILES = ", ".join(f"{tenth / 10}" for tenth in range(10))


def _labels(bounds: list[float]) -> list[str]:
    ends = [f"{bound:g}" for bound in bounds]
    return [f"{low} to {high}" for low, high in zip(ends, ends[1:], strict=False)] + [f"{ends[-1]} and more"]


def _group(row: Row) -> dict[str, Any]:
    mean = row["total"] / row["having"] if row["having"] else None
    return {"value": row["value"], **rated(row), "mean": mean}


def _other(row: Row) -> dict[str, Any]:
    return {
        "groups": row["groups"],
        **{name: row[name] for name in COUNTS},
        **satisfaction(row["up"], row["down"]).as_dict(),
    }


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
