"""What may stand at a path of the config, as the pydantic models say: what layers need to know of them."""

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Shape(NamedTuple):
    """What a mapping may be.

    models: one of them has its keys. tag: the key that tells which (an attack's `algorithm`). entries: of a mapping of
    named things (targets, data sets), the type of each.
    """

    models: tuple[type[BaseModel], ...] = ()
    tag: str | None = None
    entries: Any = None

    def fields(self, values: Mapping[str, Any], key: str) -> list[FieldInfo]:
        """The fields called `key` of the models that the values can be."""
        tagged = [
            model
            for model in self.models
            if self.tag and (tag := _field(model, self.tag)) and values.get(self.tag) in get_args(tag.annotation)
        ]
        return [field for model in tagged or self.models if (field := _field(model, key))]

    def under(self, values: Mapping[str, Any], key: str) -> "Shape":
        """The shape of what stands under a key of the values."""
        if self.entries is not None:
            return shape_of(self.entries)
        return _any_of(shape_of(field.annotation, field.discriminator) for field in self.fields(values, key))


def shape_of(annotation: Any, tag: Any = None) -> Shape:
    """The shape that a type describes. tag: of a union, as pydantic's field knows it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(models=(annotation,))
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return Shape(entries=parts[1])
    if origin is Annotated:
        tags = [extra.discriminator for extra in parts[1:] if isinstance(extra, FieldInfo) and extra.discriminator]
        return shape_of(parts[0], *tags or [tag])
    if origin in (Union, UnionType):
        shape = _any_of(map(shape_of, parts))
        return shape._replace(tag=tag) if isinstance(tag, str) else shape
    return Shape()


def _any_of(shapes: Iterable[Shape]) -> Shape:
    found = list(shapes)
    return Shape(
        models=tuple(model for shape in found for model in shape.models),
        tag=next((shape.tag for shape in found if shape.tag), None),
        entries=next((shape.entries for shape in found if shape.entries is not None), None),
    )


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    return next((field for name, field in model.model_fields.items() if key == (field.alias or name)), None)
