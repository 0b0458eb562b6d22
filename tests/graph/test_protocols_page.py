"""docs/protocols.md, the list of what was filled in, is in step with the config."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from robust_transfer.plan import config, layers
from robust_transfer.plan.layers import Layer
from robust_transfer.plan.reading import read_text
from robust_transfer.studies import PAPERS, STUDIES
from workspace import REPOSITORY

PAGE = (REPOSITORY / "docs/protocols.md").read_text(encoding="utf-8")


def rows() -> Iterator[tuple[str, list[str]]]:
    """The study, and the four texts of each row of its table."""
    for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        study, *lines = section.splitlines()
        for line in [line for line in lines if line.startswith("|")][2:]:
            yield study, [text.strip() for text in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """The whole config of the paper scale under protocol paper, its switches resolved."""
    user = {"scale": "paper", "protocol": "paper", "studies": list(PAPERS), "main_study": "davchev"}
    stack = layers.stack([Layer("config.yaml", user)], REPOSITORY / "workflow")
    _, found, mistakes = config.load(stack, {name: study.Section for name, study in STUDIES.items()})
    assert not mistakes
    return found


def test_every_study_has_its_list():
    assert set(re.findall(r"^## (\w+)$", PAGE, flags=re.M)) == set(PAPERS)


@pytest.mark.parametrize(("study", "row"), [pytest.param(s, row, id=f"{s}: {row[0]}") for s, row in rows()])
def test_a_row_says_what_the_config_says_and_by_whom(study, row, values):
    what, key, value, by_whom = row
    assert what
    assert re.match(r"(authors' code|ours)\b", by_whom), f"by whom: {by_whom}"
    if not key:
        return
    found: Any = values
    for name in key.strip("`").split("."):
        assert name in found, f"{key} is not in the config"
        found = found[name]
    assert found == read_text(value.strip("`"), key)
