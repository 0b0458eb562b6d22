"""The values that specs are made of: numbers as papers print them, and the base of every spec."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SerializationInfo


def number(value: Any) -> Any:
    """Read a number as papers print it: `8/255`, `1e-4` (which YAML 1.1 takes for a string), 0.1 or "0.1".

    Anything that is not such a text comes back as it is, for pydantic to judge.
    """
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")
    if isinstance(value, str):
        try:
            top, bar, bottom = value.partition("/")
            return float(top) / float(bottom) if bar else float(top)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{value!r} is no number; write it like 0.031, 1e-4 or 8/255") from None
    return value


def no_bool(value: Any) -> Any:
    """Refuse true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("a whole number is wanted, not true or false")
    return value


def in_pixels(value: float | list[float]) -> float | list[float]:
    """Refuse a mean or deviation of pixels, or one a channel, that is in 255ths."""
    wrong = [each for each in (value if isinstance(value, list) else [value]) if not 0 <= each <= 1]
    if wrong:
        raise ValueError(f"{wrong[0]:g} is not within 0 and 1, as pixels are; write 125.3/255 and not 125.3")
    return value


def no_drowning(sigma: float) -> float:
    """Refuse noise that leaves nothing of an image."""
    if sigma > 4:
        raise ValueError(f"{sigma:g} drowns any image; pixels go from 0 to 1, so write 64/255 and not 64")
    return sigma


Number = Annotated[float, BeforeValidator(number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Sigma = Annotated[NonNegative, AfterValidator(no_drowning)]
"""The standard deviation of noise, in pixels of [0, 1]."""
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, BeforeValidator(no_bool), Field(ge=1)]
WholeNumber = Annotated[int, BeforeValidator(no_bool), Field(ge=0)]


CANONICAL = "canonical"
"""The context in which a spec gives its canonical form."""


def formerly(**words: str) -> tuple[BeforeValidator, PlainSerializer]:
    """Of a field, the earlier names of its words: they are still read, and still stand in canonical form, so that no id
    changes with them.
    """
    now = {earlier: word for word, earlier in words.items()}

    def serialised(word: str, info: SerializationInfo) -> str:
        return words[word] if info.context == CANONICAL else word

    def read(word: Any) -> Any:
        return now.get(word, word) if isinstance(word, str) else word

    return BeforeValidator(read), PlainSerializer(serialised, return_type=str)


class Spec(BaseModel):
    """A validated, immutable value; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> dict[str, Any]:
        """The spec as plain JSON values, without defaults and labels: what the id is made from."""
        return self.model_dump(mode="json", exclude_defaults=True, context=CANONICAL)

    def warnings(self) -> Iterator[str]:
        """Sentences on what is suspicious in it, or in the specs in it, and may be wanted all the same; they stand in
        the foot of every table and figure that is made by it.
        """
        for _, value in self:
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, Spec):
                    yield from each.warnings()

    def with_(self, **changes: Any) -> Self:
        """The spec with some fields changed, all of them checked together; labels stay.

        Raises:
            ValidationError: for values that do not fit, alone or together.
        """
        own = type(self).model_fields
        values = {name: getattr(self, name) for name in self.model_fields_set} | changes
        return self.model_validate({own[name].alias or name if name in own else name: v for name, v in values.items()})


def in_slug(value: float) -> str:
    """A number as slugs have it, whose parts are divided by points: 0_005 for 0.005."""
    return f"{value:g}".replace(".", "_")
