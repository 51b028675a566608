"""Checks an object against the server's own OpenAPI v3 (KEP-2896), where a dry run is not possible yet.

The document of a group version is fetched once, and its schemas are kept. The walk follows structural schemas: `$ref`,
`allOf`, maps, lists, enums, `x-kubernetes-int-or-string`, `x-kubernetes-preserve-unknown-fields`, and the two types
that are strings or numbers (Quantity, IntOrString). It accepts everything that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

import anyio

from infra_mcp.clients.kube.discovery import unknown_kind
from infra_mcp.clients.kube.errors import KubeError
from infra_mcp.clients.kube.transport import Transport
from infra_mcp.text import one_line

MAX_ERRORS = 20
MAX_DEPTH = 64
_REF = "#/components/schemas/"
_QUANTITY = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_TYPES = {str: "string", list: "array", dict: "object", bool: "boolean", int: "integer", float: "number"}  # bool is int
_RANGES = {"int32": 2**31, "int64": 2**63}

Schema = dict[str, Any]


class Schemas:
    """The schemas of one API server. Read as the server's own identity: any authenticated user may."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._documents: dict[str, dict[str, Schema]] = {}
        self._fetching = anyio.Lock()

    async def errors(self, body: dict[str, Any]) -> list[str]:
        """The errors of a whole object; see `Cluster.schema_errors`."""
        api_version, kind = str(body.get("apiVersion", "")), str(body.get("kind", ""))
        schemas = self._documents.get(api_version, {})
        root = _root(schemas, api_version, kind)
        if root is None:  # not read yet, or the kind is newer than what was read
            async with self._fetching:
                schemas = await self._fetch(api_version)
            root = _root(schemas, api_version, kind)
        if root is None:
            raise unknown_kind(api_version, kind)
        return check(body, root, schemas)

    async def _fetch(self, api_version: str) -> dict[str, Schema]:
        if not re.fullmatch(r"[a-z0-9.-]+(/[a-z0-9]+)?", api_version):
            return {}
        path = f"/openapi/v3/apis/{api_version}" if "/" in api_version else f"/openapi/v3/api/{api_version}"
        try:
            document, _ = await self._transport.request("GET", path)
        except KubeError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return {}
            raise
        schemas: dict[str, Schema] = document.get("components", {}).get("schemas", {})
        self._documents[api_version] = schemas
        return schemas


def _root(schemas: dict[str, Schema], api_version: str, kind: str) -> Schema | None:
    group, _, version = api_version.rpartition("/")
    wanted = {"group": group, "version": version, "kind": kind}
    return next((one for one in schemas.values() if wanted in one.get("x-kubernetes-group-version-kind", [])), None)


def check(body: Any, schema: Schema, schemas: dict[str, Schema]) -> list[str]:  # noqa: ANN401 - any JSON value
    """The first errors of a value against a schema, each with its path and without the value."""
    return list(islice(_Check(schemas).walk(body, schema, "", 0), MAX_ERRORS))


class _Check:
    def __init__(self, schemas: dict[str, Schema]) -> None:
        self._schemas = schemas

    def walk(self, value: Any, schema: Schema, path: str, depth: int) -> Iterator[str]:  # noqa: ANN401 - any JSON value
        schema = self._resolve(schema)
        if value is None or depth > MAX_DEPTH:
            return  # null is how YAML says absent
        wrong = _scalar(value, schema)
        if wrong:
            yield f"{path or '.'}: {wrong}"
        elif isinstance(value, dict):
            yield from self._walk_map(value, schema, path, depth)
        elif isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                yield from self.walk(item, schema["items"], f"{path}[{index}]", depth + 1)

    def _walk_map(self, value: dict[Any, Any], schema: Schema, path: str, depth: int) -> Iterator[str]:
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties")
        if schema.get("x-kubernetes-embedded-resource"):
            properties = {"apiVersion": {}, "kind": {}, "metadata": {}} | properties
        closed = bool(properties) and not others and not schema.get("x-kubernetes-preserve-unknown-fields")
        for name in schema.get("required", []):
            if value.get(name) is None:
                yield f"{path}.{name}: is required"
        for name, item in value.items():
            below = f"{path}.{one_line(str(name), 80)}"
            if not isinstance(name, str):
                yield f"{below}: a name must be a string"
            elif name in properties:
                yield from self.walk(item, properties[name], below, depth + 1)
            elif isinstance(others, dict):
                yield from self.walk(item, others, below, depth + 1)
            elif closed:
                yield f"{below}: no such field"

    def _resolve(self, schema: Schema) -> Schema:
        """The schema with `$ref` and `allOf` merged; its own keys win, except that properties add up."""
        parts: list[Schema] = list(schema.get("allOf", []))
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_REF)
            parts.append({"x-name": name} | self._schemas.get(name, {"x-kubernetes-preserve-unknown-fields": True}))
        if not parts:
            return schema
        merged: Schema = {}
        own = {k: v for k, v in schema.items() if k not in {"$ref", "allOf"}}
        for part in [*map(self._resolve, parts), own]:
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", []), *part.get("required", [])]
            merged |= part
            merged |= {"properties": properties} if properties else {}
            merged |= {"required": required} if required else {}
        return merged


def _scalar(value: Any, schema: Schema) -> str | None:  # noqa: ANN401
    """The error of the value's own type, enum or range."""
    wanted = _types(schema)
    got = _type(value)
    if wanted and got not in wanted and not (got == "integer" and "number" in wanted):
        return f"must be {' or '.join(sorted(wanted))}, is {got}"
    if str(schema.get("x-name", "")).endswith("api.resource.Quantity") and not _QUANTITY.fullmatch(str(value)):
        return "is not a quantity, such as 500m or 2Gi"
    if "enum" in schema and value not in schema["enum"]:
        return "must be one of " + ", ".join(map(str, schema["enum"][:MAX_ERRORS]))
    limit = _RANGES.get(schema.get("format", "")) if got == "integer" else None
    if limit is not None and not -limit <= value < limit:
        return f"is out of the range of {schema['format']}"
    return None


def _types(schema: Schema) -> set[str]:
    if schema.get("x-kubernetes-int-or-string"):
        return {"integer", "string"}
    if "oneOf" in schema and "type" not in schema:
        return {str(option["type"]) for option in schema["oneOf"] if "type" in option}
    return {schema["type"]} if "type" in schema else set()


def _type(value: Any) -> str:  # noqa: ANN401
    return next((name for python, name in _TYPES.items() if isinstance(value, python)), "unknown")
