"""One module a paper, and one for a study in YAML: which node fills which cell of which table or figure.

Nothing here imports torch.

A module has the study's `Section`, the model of its part of the config, and its `Study`; see base.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from robust_transfer.plan import config as configs
from robust_transfer.plan import layers, published
from robust_transfer.plan.claims import add_verdicts
from robust_transfer.plan.effective import Value, values_of
from robust_transfer.plan.graph import Plan, in_words, over_seeds
from robust_transfer.plan.layers import Layer
from robust_transfer.plan.mistakes import check, unknown_key
from robust_transfer.plan.protocol import SWITCHES, Protocol
from robust_transfer.plan.reading import with_text_keys
from robust_transfer.studies import protocols
from robust_transfer.studies.base import Study
from robust_transfer.studies.cartl import Cartl
from robust_transfer.studies.custom import Custom
from robust_transfer.studies.davchev import Davchev
from robust_transfer.studies.misfits import at_edges
from robust_transfer.studies.renofeation import Renofeation
from robust_transfer.studies.shafahi import Shafahi
from robust_transfer.studies.vaishnavi import Vaishnavi

PAPERS: dict[str, type[Study]] = {study.name: study for study in (Cartl, Davchev, Renofeation, Shafahi, Vaishnavi)}
STUDIES: dict[str, type[Study]] = {**PAPERS, Custom.name: Custom}


class Planned(NamedTuple):
    """What a config comes to. values: with the switches resolved."""

    plan: Plan
    settings: configs.Settings
    studies: dict[str, Study]
    values: dict[str, Any]


def make_plan(config: Mapping[str, Any], workflow: Path, over: Sequence[Layer] = ()) -> Plan:
    """The plan of a config: all nodes, tables, figures and verdicts of the studies it names.

    config: as read from config.yaml. workflow: the folder of recipes/ and scales/. over: the user's layers above it.

    Raises:
        UserError: with every mistake in the config, a line each.
    """
    stack = layers.stack([Layer("config.yaml", with_text_keys(config)), *over], workflow)
    return _complete(stack, workflow).plan


class Present:
    """What the config of the user's layers comes to now: the plan, as Snakemake makes it, and the origin of each value.

    Raises:
        UserError: as make_plan does.
    """

    def __init__(self, user: Sequence[Layer], workflow: Path):
        self._layers = layers.stack(user, workflow)
        self._planned = _complete(self._layers, workflow)
        self.plan = self._planned.plan

    @cached_property
    def values(self) -> dict[str, Value]:
        """All values of the config in force, by their paths."""
        sections = {name: study.section for name, study in self._planned.studies.items()}
        found = values_of(self._layers, self._planned.settings, self._planned.values, sections)
        return {value.path: value for value in found}


def _complete(stack: list[Layer], workflow: Path) -> Planned:
    """See make_plan; with all that products show. stack: all layers."""
    planned = _planned(stack)
    plan, settings, studies, _ = planned
    published.attach(plan, _papers(settings, workflow, plan))
    if settings.compare_protocols:
        for name, study in studies.items():
            if name in PAPERS:  # the switches are theirs
                protocols.add_table(plan, study, _variants(stack, workflow, name))
    seeds = in_words(settings.all_seeds)
    captions = {name: study.caption("") + seeds for name, study in studies.items()}
    of_all = f"Measured at scale {settings.scale}, {settings.in_words('', ())}{seeds}"
    own = {name: getattr(study.section, "claims", {}) for name, study in studies.items()}
    add_verdicts(plan, captions, of_all, own)
    return planned


def _papers(settings: configs.Settings, workflow: Path, plan: Plan) -> Plan | None:
    """The plan of the same studies at the papers' own scale, under the same protocol; None where all data are embedded,
    as no paper's are. plan: what the settings came to, which may be it.
    """
    if settings.scale == "paper" and not settings.changes_scale:
        return plan
    names = [name for name in settings.studies if name in PAPERS]
    if not names or not any(dataset.files for dataset in settings.datasets.values()):
        return None
    same = {"protocol": settings.protocol, "switches": settings.switches}
    layer = Layer("the papers", {"scale": "paper", "studies": names, "main_study": names[0], **same})
    return _planned(layers.stack([layer], workflow), knows_data=False).plan


def effective(user: Sequence[Layer], workflow: Path) -> list[Value]:
    """Every value of the config of the user's layers, with its origin.

    Raises:
        UserError: with every mistake in the config, a line each.
    """
    stack = layers.stack(user, workflow)
    _, settings, studies, values = _planned(stack)
    return list(values_of(stack, settings, values, {name: study.section for name, study in studies.items()}))


def _variants(
    stack: list[Layer], workflow: Path, name: str, usual: Protocol | None = None
) -> Iterator[tuple[str, Protocol, Plan]]:
    """The plans of one study with each of its switches in each position but the usual, all else as in the config."""
    alone = {"studies": [name], "main_study": name, "compare_protocols": False}
    for switch in protocols.switches_of(name, workflow):
        for choice in (position for position in SWITCHES[switch].positions if position != usual):
            variant = Layer("compare_protocols", {**alone, "switches": {switch: choice}})
            yield switch, choice, _planned([*stack, variant]).plan


def switch_effects(workflow: Path) -> dict[str, dict[Protocol, dict[str, Counter[str]]]]:
    """Switch -> position -> study -> table -> how many cells are of other nodes than under `paper`, at paper scale."""
    found: dict[str, dict[Protocol, dict[str, Counter[str]]]] = {}
    for name in PAPERS:
        values = {"scale": "paper", "protocol": "paper", "studies": [name], "main_study": name}
        stack = layers.stack([Layer("", values)], workflow)
        usual = _planned(stack).plan
        for switch, choice, variant in _variants(stack, workflow, name, usual="paper"):
            if changed := protocols.changed_cells(usual, variant):
                found.setdefault(switch, {}).setdefault(choice, {})[name] = changed
    return found


def _planned(stack: list[Layer], knows_data: bool = True) -> Planned:
    """See make_plan. knows_data: whether the plan must fit the data sets that are there."""
    settings, values, mistakes = configs.load(stack, {name: study.Section for name, study in STUDIES.items()})
    known = {*configs.Settings.model_fields, *STUDIES}
    for key in values:
        if key not in known:
            mistakes.append(unknown_key(key, known))
    names = given if isinstance(given := values.get("studies"), list) else []
    sections = {}
    for i, name in enumerate(names):
        if study := configs.look_up(name, STUDIES, "study", f"studies[{i}]", mistakes):
            sections[name] = check(study.Section, values.get(name, {}), name, mistakes)
    if values.get("main_study") not in names:
        mistakes.append(
            f"main_study: {values.get('main_study')!r} is not among the studies {', '.join(map(str, names))}"
        )
    plans: dict[int, Plan] = {}
    studies: dict[str, Study] = {}
    if settings:
        for seed in settings.all_seeds:
            origin = {"config": dict(values), "machine": settings.machine.model_dump()}
            plan, alone = Plan(origin), settings.model_copy(update={"seed": seed})
            of_seed = {name: STUDIES[name](alone, section, plan) for name, section in sections.items() if section}
            found = [mistake for study in of_seed.values() for mistake in study.add()]
            if not plans:  # what is wrong is wrong with every seed
                studies = of_seed
                mistakes += found + (at_edges(plan, settings, list(studies.values())) if knows_data else [])
            plans[seed] = plan
    configs.fail(mistakes, stack)
    assert settings  # without them there is a mistake
    plan = over_seeds(plans)
    plan.origin |= {
        "main_study": settings.main_study,
        "machine": settings.machine.model_dump(),
        "data_root": settings.data_root,
    }
    return Planned(plan, settings, studies, values)
