"""Chen et al. 2021, "CARTL: Cooperative Adversarially-Robust Transfer Learning".

A source is trained adversarially; the last k blocks of it are fine-tuned on clean images of a target task, and what is
asked is how much robustness is left. CARTL trains the source with feature distance minimisation (FDM), for one k each,
and fine-tunes without expansion (NEFT). It stands against plain fine-tuning ("vanilla") and against learning without
forgetting (LwF, Shafahi et al. 2020). Every target model is attacked for itself.
"""

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan
from robust_transfer.studies.cartl.methods import Methods
from robust_transfer.studies.cartl.results import ACC, METHODS, ROB, Results, row_of
from robust_transfer.studies.cartl.section import Section, mistakes_in
from robust_transfer.studies.protocols import Headline

__all__ = ["Section", "headline", "plan"]


def headline(section: Section) -> Headline:
    """The three methods in the first scenario of table 4."""
    row = row_of(section, section.comparison[0])
    return "table4", [(row, f"{method} {what}") for method in METHODS for what in (ACC, ROB)]


def plan(settings: Settings, section: Section, plan: Plan, mistakes: list[str]) -> None:
    """Add tables 1 to 4, figures 3 to 5 and all that they need."""
    mistakes += mistakes_in(settings, section, mistakes)
    if not mistakes:
        Results(settings, section, plan, Methods(settings, section, plan)).add()
