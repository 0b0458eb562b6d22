"""Two configs, held against each other: which values differ, and which of these concern a study."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from robust_transfer.plan.config import Settings, changes
from robust_transfer.plan.protocol import chosen
from robust_transfer.plan.specs import Spec

GENERAL = ("scale", "protocol", "switches", "seed", "seeds")
"""Settings that concern every study."""


class Difference(NamedTuple):
    """A value that differs: its path in the config, what it was, and what it is now; None where it is not set."""

    path: str
    was: Any
    now: Any

    @property
    def sentence(self) -> str:
        """In words."""
        return f"{self.path}: {_word(self.was)}, now {_word(self.now)}"


def between(old: Mapping[str, Any], new: Mapping[str, Any], sections: Mapping[str, type[Spec]]) -> list[Difference]:
    """The values that differ between two configs, both with their switches resolved, as plans keep them
    (`origin["config"]`): those that concern every study first. What no number depends on is left out.

    sections: the model of each study's part of the config.
    """
    found = [
        Difference(key, *sides)
        for key in GENERAL
        if (sides := tuple(_setting(config, key) for config in (old, new)))[0] != sides[1]
    ]
    choices = [chosen(config.get("protocol"), config.get("switches") or {}) for config in (old, new)]
    if choices[0] == choices[1]:  # another way to say the same
        found = [each for each in found if each.path not in ("protocol", "switches")]
    paths = changes(old, new, {name: model for name, model in sections.items() if name in old and name in new})
    return found + [Difference(path, _at(old, path), _at(new, path)) for path in paths]


def concerning(found: Iterable[Difference], study: str) -> list[Difference]:
    """Those of the differences that can reach a study; all of them where it has no name, as the verdicts on all."""
    of_study = {*GENERAL, "datasets", "networks", study}
    return [each for each in found if not study or each.path.partition(".")[0] in of_study]


def _setting(config: Mapping[str, Any], key: str) -> Any:
    default = Settings.model_fields[key].get_default(call_default_factory=True)
    return config.get(key, None if Settings.model_fields[key].is_required() else default)


def _at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a path; keys may hold dots themselves."""
    if not path:
        return config
    for key, value in config.items():
        if path == key:
            return value
        if path.startswith(f"{key}.") and isinstance(value, Mapping):
            return _at(value, path.removeprefix(f"{key}."))
    return None


def _word(value: Any) -> str:
    if value is None:
        return "not set"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


LONGEST = 60
