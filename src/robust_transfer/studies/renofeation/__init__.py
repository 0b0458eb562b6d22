"""Chin et al. 2020, "Improving the Adversarial Robustness of Transfer Learning via Noisy Feature Distillation".

The attacker knows the pretrained network alone. So one set of adversarial examples for each (pretrained network, target
task) serves every model that was transferred from that network. Methods are compared by clean accuracy and by attack
success rate, P(wrong on the adversarial image | right on the clean one).
"""

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan
from robust_transfer.studies.protocols import Headline
from robust_transfer.studies.renofeation.methods import Methods, Task
from robust_transfer.studies.renofeation.results import ASR, CLEAN, COMPARED, Results
from robust_transfer.studies.renofeation.section import Section, mistakes_in

__all__ = ["Section", "headline", "plan"]


def headline(section: Section) -> Headline:
    """The first network's averages over the targets."""
    network = next(iter(section.networks))
    rows = [f"{network} {method} {what}" for method in COMPARED for what in (CLEAN, ASR)]
    return "table6", [(row, "Average") for row in rows]


def plan(settings: Settings, section: Section, plan: Plan, mistakes: list[str]) -> None:
    """Add tables 1 to 6, the table of choices, figures 1 to 6 and all that they need."""
    mistakes += mistakes_in(settings, section, mistakes)
    if mistakes:
        return
    methods = Methods(settings, section, plan)
    tasks: dict[str, dict[str, Task]] = {name: {} for name in section.networks}
    for name in section.networks:
        for target in section.targets:
            tasks[name][target] = methods.task(name, target)
    main, *others = section.networks
    for target, task in tasks[main].items():
        methods.tuned_family(task, target)
        methods.random_family(task, target)
        methods.with_regularisation(task)
        methods.with_less_data(task)
    for name in others:
        for target, task in tasks[name].items():
            methods.as_tuned_elsewhere(task, tasks[main][target])
    Results(settings, section, plan, tasks).add()
