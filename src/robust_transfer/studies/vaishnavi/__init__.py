"""Vaishnavi et al., "A Study of the Effects of Transfer Learning on Adversarial Robustness".

Every target model is trained robustly, adversarially (empirical robustness, auto-PGD) or by consistency regularisation
(certified robustness, randomised smoothing), from random weights or from a source that was trained robustly, by
standard training, or without labels.

Table 1 of the paper sums up the literature in words and is not made. Square, which the authors' script runs after
auto-PGD and the text does not name, is not run.
"""

from robust_transfer.plan.config import Settings
from robust_transfer.plan.graph import Plan
from robust_transfer.studies.protocols import Headline
from robust_transfer.studies.vaishnavi.methods import Methods
from robust_transfer.studies.vaishnavi.results import LAST_LAYER, PRETRAINED, Results
from robust_transfer.studies.vaishnavi.section import Section, mistakes_in

__all__ = ["Section", "headline", "plan"]


def headline(section: Section) -> Headline:
    """The mean improvements of robustness, and what is left of it where the last layer alone is trained."""
    rows = [f"{kind} {start}" for kind in ("Empirical", "Certified") for start in PRETRAINED]
    return "improvements", [*((row, what) for row in rows for what in ("SA", "RA")), (LAST_LAYER, "SA")]


def plan(settings: Settings, section: Section, plan: Plan, mistakes: list[str]) -> None:
    """Add tables 2 to 5, the mean improvements, figures 2 and 3, measured and printed, and all that they need."""
    mistakes += mistakes_in(settings, section, mistakes)
    if mistakes:
        return
    Results(settings, section, plan, Methods(settings, section, plan)).add()
