"""Where in the config the misfits of a plan can be mended."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from robust_transfer.plan.config import Settings
from robust_transfer.plan.edges import Misfit, misfits
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.specs import Attack, Dataset, Recipe, Schedule, Spec
from robust_transfer.studies import checks
from robust_transfer.studies.base import Study


def at_edges(plan: Plan, settings: Settings, studies: Sequence[Study]) -> list[str]:
    """A sentence for each thing that is certain not to work in the plan, from the key on; one a key."""
    found: dict[str, str] = {}
    for misfit in misfits(plan, Path(settings.data_root)):
        path = _path(misfit, settings, studies) or _of_node(misfit, plan)
        found.setdefault(path, f"{path}: {misfit.sentence}")
    return list(found.values())


def _path(misfit: Misfit, settings: Settings, studies: Sequence[Study]) -> str | None:
    """The path of a misfit's key; None where nothing in the config is its part."""
    schedule = next((s.schedules[misfit.node.id] for s in studies if misfit.node.id in s.schedules), None)
    for path, spec in _specs(settings, studies):
        if isinstance(misfit.part, Schedule) and spec is schedule:
            return _key(path, misfit)
        if isinstance(misfit.part, Recipe) and isinstance(spec, Recipe) and spec.schedule is schedule:
            return _key(path, misfit)
        if not isinstance(misfit.part, Schedule | Recipe) and _is(spec, misfit.part):
            return _key(path, misfit)
    return None


def _key(path: str, misfit: Misfit) -> str:
    return f"{path}.{misfit.key}" if misfit.key else path


def _specs(settings: Settings, studies: Sequence[Study]) -> Iterator[tuple[str, Spec]]:
    """Every spec in the config, with its path."""
    yield from ((f"datasets.{name}", dataset) for name, dataset in settings.datasets.items())
    yield from ((f"networks.{name}", network) for name, network in settings.networks.items())
    for study in studies:
        for path, value, _ in checks.values_of(study.section, study.name):
            if isinstance(value, Spec):
                yield path, value


def _is(spec: Spec, part: Spec | None) -> bool:
    """Whether a spec of the config is the part of a node, or what the plan makes of it."""
    if part is None or not isinstance(spec, Attack):
        divided = {"validation"} if isinstance(spec, Dataset) else set()  # see Study.data
        return part is not None and isinstance(spec, type(part)) and _without(spec, divided) == _without(part, divided)
    filled_in = {"mean", "std"}
    of_attack = [spec, *spec.members()]
    return any(_without(each, filled_in) == _without(part, filled_in) for each in of_attack)


def _without(spec: Spec, names: set[str]) -> dict[str, object]:
    return {name: value for name, value in spec.canonical().items() if name not in names}


def _of_node(misfit: Misfit, plan: Plan) -> str:
    """Where no key is to blame: the study, and the node."""
    shown = (product.study for product in plan.products.values() if misfit.node in plan.ancestry(product.nodes))
    return f"{next(shown, 'studies')}: node {misfit.node.slug}"
