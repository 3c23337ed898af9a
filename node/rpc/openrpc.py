"""The description of the RPC for machines, made from the methods' own types (https://spec.open-rpc.org,
1.3)."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

import deepblock
from deepblock import api
from node.rpc.registry import METHODS, Method, method

_REFERENCE = "#/components/schemas/{model}"


@method("rpc.discover")
def discover(node: Any) -> dict[str, Any]:
    """This document."""
    return document()


@cache
def document() -> dict[str, Any]:
    """The OpenRPC document of all methods, made once: it takes as long as a hundred other answers."""
    results, schemas = TypeAdapter.json_schemas(
        [(name, "validation", entry.result) for name, entry in METHODS.items()], ref_template=_REFERENCE
    )
    components = dict(schemas.get("$defs", {}))
    described = [
        _describe(entry, dict(results[name, "validation"]), components) for name, entry in METHODS.items()
    ]
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "DeepBlock node",
            "version": deepblock.__version__,
            "description": (api.__doc__ or "").strip(),
        },
        "methods": described,
        "components": {"schemas": components},
    }


def _describe(entry: Method, result: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """One method; the schemas that its parameters refer to go to the `components`."""
    parameters = entry.params.model_json_schema(ref_template=_REFERENCE)
    components.update(parameters.get("$defs", {}))
    required = parameters.get("required", [])
    return {
        "name": entry.name,
        "summary": entry.doc,
        "paramStructure": "either",
        "params": [
            {"name": name, "required": name in required, "schema": schema}
            for name, schema in parameters.get("properties", {}).items()
        ],
        "result": {"name": "result", "schema": result},
        "errors": [
            {"code": api.REFUSED, "message": "refused by a rule"},
            {"code": api.NOT_FOUND, "message": "not known to this node"},
        ],
    }
