"""Templates: what a person decides of a task. The data and the network decide the rest."""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deepblock.importers.dataset import Kind
from deepblock.spec import RATE_ONE, Embedding, Layer, TaskSpec, label_shape

CLASSES: Final = "classes"
"""Stands in a template's layers for the number of classes."""

DEFAULT: Final[dict[Kind, str]] = {
    "images": "cnn",
    "vectors": "mlp",
    "texts": "text",
    "tokens": "transformer",
}
"""The template for each kind of data, unless said."""

_SHIPPED: Final = resources.files("deepblock") / "sponsor" / "templates"
_LAYERS: Final[TypeAdapter[tuple[Layer, ...]]] = TypeAdapter(tuple[Layer, ...])

Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=1 << 32)]


class TemplateError(ValueError):
    """A template is absent or is none; the text says where and why."""


class Template(BaseModel):
    """`inputs`: the kinds of data that it is for. `layers`: as in a specification, with "classes" for their number.
    `segments`, `steps`, `batch`: of a session; rates are fractions of 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    inputs: tuple[Kind, ...]
    layers: tuple[dict[str, Any], ...]
    segments: Count
    steps: Count
    batch: Count
    lr_high: Rate
    lr_low: Rate
    momentum: Rate
    decay: Rate
    bits: Annotated[int, Field(ge=0, le=255)]

    @classmethod
    def load(cls, name: str) -> "Template":
        """The shipped template `name`, or the one in the JSON file `name`. Raises TemplateError."""
        shipped = _SHIPPED / f"{name}.json"
        if shipped.is_file():
            text = shipped.read_text()
        elif Path(name).is_file():
            text = Path(name).read_text(errors="replace")
        else:
            raise TemplateError(f"--template {name}: neither a file nor one of {', '.join(shipped_names())}")
        try:
            template = cls.model_validate_json(text)
            template.for_classes(2)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise TemplateError(f"--template {name}: {where}: {first['msg']}") from None
        return template

    @classmethod
    def of(cls, spec: TaskSpec) -> "Template":
        """The template of a task: the same with another head."""
        layers = json.loads(_LAYERS.dump_json(spec.layers))
        if "out" in layers[-1]:
            layers[-1]["out"] = CLASSES
        rates = {name: getattr(spec, name) / RATE_ONE for name in ("lr_high", "lr_low", "momentum", "decay")}
        return cls(
            about=f"as task {spec.name}",
            inputs=(kind_of(spec),),
            layers=tuple(layers),
            segments=spec.segments,
            steps=spec.steps,
            batch=spec.batch,
            bits=spec.bits,
            **rates,
        )

    def for_classes(self, classes: int) -> tuple[Layer, ...]:
        return _LAYERS.validate_python(_filled(self.layers, classes))


def shipped_names() -> list[str]:
    return sorted(file.name.removesuffix(".json") for file in _SHIPPED.iterdir())


def kind_of(spec: TaskSpec) -> Kind:
    """The kind of data that a task learns from."""
    if isinstance(spec.layers[0], Embedding):
        return "tokens" if label_shape(spec) else "texts"
    return "images" if len(spec.input_shape) == 3 else "vectors"


def _filled(value: Any, classes: int) -> Any:
    match value:
        case dict():
            return {name: _filled(inner, classes) for name, inner in value.items()}
        case list() | tuple():
            return [_filled(inner, classes) for inner in value]
        case "classes":
            return classes
    return value
