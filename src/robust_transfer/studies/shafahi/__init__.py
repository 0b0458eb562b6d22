"""Shafahi et al. 2020, "Adversarially Robust Transfer Learning".

Robust networks have robust features. A new head on them, trained on natural images, inherits robustness; training all
of the network forgets it, unless a term keeps its features near the source's (learning without forgetting). Every model
is attacked for itself.
"""

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan
from robust_transfer.studies.protocols import Headline
from robust_transfer.studies.shafahi.figures import Figures
from robust_transfer.studies.shafahi.methods import Methods
from robust_transfer.studies.shafahi.section import Section, mistakes_in
from robust_transfer.studies.shafahi.tables import Tables, attack_name, lwf_row

__all__ = ["Section", "headline", "plan"]


def headline(section: Section) -> Headline:
    """Learning without forgetting with the least and the largest lambda_d, on the target."""
    weights = section.lwf.lambdas.transfer
    rows = [lwf_row(section, section.source, section.target, weight) for weight in (min(weights), max(weights))]
    return "table4", [(row, column) for row in rows for column in ("val.", attack_name(section.attacks.test))]


def plan(settings: Settings, section: Section, plan: Plan, mistakes: list[str]) -> None:
    """Add tables 1 to 7, figures 1, 3, 4, 5 and 7, and all that they need."""
    mistakes += mistakes_in(settings, section, mistakes)
    if mistakes:
        return
    methods = Methods(settings, section, plan)
    Tables(settings, section, plan, methods).add()
    Figures(settings, section, plan, methods).add()
