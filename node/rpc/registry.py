"""A method of the RPC: a typed function, whose signature and docstring are all that is written of it by
hand."""

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from deepblock import api

F = TypeVar("F", bound=Callable[..., Any])


class RpcFault(Exception):
    """What the caller gets in place of a result: an error object of JSON-RPC 2.0."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class InvalidParams(RpcFault):
    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(-32602, message, data)


class NotFound(RpcFault):
    def __init__(self, message: str) -> None:
        super().__init__(api.NOT_FOUND, message)


@dataclass(frozen=True, slots=True)
class Method:
    """`run` takes the services and then the parameters, which `params` validates; `result` writes what it
    returns."""

    name: str
    run: Callable[..., Any]
    params: type[BaseModel]
    result: TypeAdapter[Any]

    @property
    def doc(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")

    async def call(self, services: Any, params: Any) -> Any:
        """The result, ready for JSON. Raises RpcFault, and whatever the method raises."""
        value = self.run(services, **self._arguments(params))
        if isinstance(value, Awaitable):
            value = await value
        return self.result.dump_python(value, mode="json")

    def _arguments(self, params: Any) -> dict[str, Any]:
        """The arguments that positional (list) or named (dict) `params` give. Raises InvalidParams."""
        names = list(self.params.model_fields)
        if isinstance(params, list):
            if len(params) > len(names):
                takes = f"at most {len(names)} parameters ({', '.join(names)})" if names else "no parameters"
                raise InvalidParams(f"{self.name} takes {takes}, not {len(params)}")
            params = dict(zip(names, params, strict=False))
        try:
            checked = self.params.model_validate_json(json.dumps(params))
        except ValidationError as error:
            problems = _problems(error)
            raise InvalidParams(f"{self.name}: " + "; ".join(problems), problems) from None
        except RecursionError:
            raise InvalidParams(f"{self.name}: the parameters are nested too deeply") from None
        return {name: getattr(checked, name) for name in names}


METHODS: Final[dict[str, Method]] = {}
"""Every method by its name."""


def method(name: str) -> Callable[[F], F]:
    """Makes a function the method `name`."""

    def register(function: F) -> F:
        signature = inspect.signature(function)
        fields: dict[str, Any] = {}
        for parameter in list(signature.parameters.values())[1:]:
            required = parameter.default is inspect.Parameter.empty
            fields[parameter.name] = (parameter.annotation, ... if required else parameter.default)
        # The configuration reaches into the dataclasses inside: a misspelt field is an error, not ignored.
        params = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        METHODS[name] = Method(name, function, params, TypeAdapter(signature.return_annotation))
        return function

    return register


def _problems(error: ValidationError) -> list[str]:
    """One line for each thing that is wrong: where, and what."""
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        if item["type"] == "json_invalid":  # we wrote the JSON: only these two can be wrong with it
            return ["the parameters are nested too deeply, or have half a surrogate pair in a text"]
        # Besides names and indexes, a place holds pydantic's own words for the branches of a union.
        where = ".".join(part for part in map(str, item["loc"]) if part.isidentifier() or part.isdigit())
        lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return list(dict.fromkeys(lines))
