"""The page at ``/docs``: the API as one plain HTML page, without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1.1rem; margin: 2rem 0 .3rem } code { font-family: ui-monospace, monospace }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
tr { border-top: 1px solid #8884 }
"""


def render(document: dict[str, Any]) -> str:
    """From an OpenAPI document."""
    info = document["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style><main><h1>{escape(info['title'])}</h1>"
        f'<p>{escape(info["description"])}</p><p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{operations}</main></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(_rows(operation))
    table = f"<table><tr><th>parameter</th><th>type</th><th>meaning</th></tr>{rows}</table>" if rows else ""
    heading = f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    return f"<section>{heading}<p>{escape(operation.get('summary', ''))}</p>{table}</section>"


def _rows(operation: dict[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        name = parameter["name"] + (" (required)" if parameter.get("required") else "")
        schema = parameter.get("schema", {})
        meaning = parameter.get("description") or schema.get("description", "")
        cells = (f"<code>{escape(name)}</code>", escape(_type(schema)), escape(meaning))
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _type(schema: dict[str, Any]) -> str:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return " or ".join(str(option.get("type") or option.get("$ref", "").rpartition("/")[2]) for option in options)
