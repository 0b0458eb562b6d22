"""One module a paper: which node fills which cell of which table or figure. Nothing here imports torch.

A study module has `Section`, the model of its part of the config; `plan(settings, section, plan, mistakes)`, which
adds its nodes, tables and figures to the plan; and `headline(section)`, a table and the few cells of it that show what
a switch does.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robust_transfer.plan import config as configs
from robust_transfer.plan.graph import Plan
from robust_transfer.plan.protocol import PROTOCOLS, Protocol
from robust_transfer.plan.specs import Spec
from robust_transfer.studies import cartl, davchev, protocols, renofeation, shafahi, vaishnavi

STUDIES = {
    "cartl": cartl,
    "davchev": davchev,
    "renofeation": renofeation,
    "shafahi": shafahi,
    "vaishnavi": vaishnavi,
}


def make_plan(config: Mapping[str, Any], workflow: Path) -> Plan:
    """The plan of a config: all nodes, tables and figures of the studies it names.

    config: the user's layer, as read from config.yaml. workflow: the folder of recipes/ and scales/.

    Raises:
        UserError: with every mistake in the config, a line each.
    """
    plan, settings, sections = _planned(config, workflow)
    if settings.compare_protocols:
        for name, section in sections.items():
            variants = _variants(config, workflow, name)
            protocols.add_table(plan, settings, name, STUDIES[name].headline(section), variants)
    return plan


def _variants(config: Mapping[str, Any], workflow: Path, name: str) -> Iterator[tuple[str, Protocol, Plan]]:
    """The plans of one study with each of its switches set to each protocol, all else as the config says."""
    alone = {"studies": [name], "main_study": name, "compare_protocols": False}
    for switch in protocols.switches_of(name, workflow):
        for choice in PROTOCOLS:
            switches = {**(config.get("switches") or {}), switch: choice}
            yield switch, choice, _planned({**config, **alone, "switches": switches}, workflow)[0]


def _planned(config: Mapping[str, Any], workflow: Path) -> tuple[Plan, configs.Settings, dict[str, Spec]]:
    """The plan, the settings and the studies' sections; see make_plan."""
    settings, values, mistakes = configs.load(config, workflow)
    known = {*configs.Settings.model_fields, *STUDIES}
    for key in values:
        if key not in known:
            mistakes.append(configs.unknown_key(key, known))
    names = values.get("studies") if isinstance(values.get("studies"), list) else []
    sections = {}
    for i, name in enumerate(names):
        if study := configs.look_up(name, STUDIES, "study", f"studies[{i}]", mistakes):
            sections[name] = configs.check(study.Section, values.get(name, {}), name, mistakes)
    if values.get("main_study") not in names:
        mistakes.append(
            f"main_study: {values.get('main_study')!r} is not among the studies {', '.join(map(str, names))}"
        )
    plan = Plan({"config": dict(values)})
    if settings:
        for name, section in sections.items():
            if section:
                try:
                    STUDIES[name].plan(settings, section, plan, mistakes)
                except ValidationError as error:  # values that are well each by itself, and do not go together
                    mistakes += [f"{name}.{item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
    configs.fail(mistakes)
    plan.origin |= {
        "main_study": settings.main_study,
        "machine": settings.machine.model_dump(),
        "data_root": settings.data_root,
    }
    return plan, settings, sections
