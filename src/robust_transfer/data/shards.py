"""Which parquet files of a repository are a split's, by their names.

START is the split's name, below the folder. The forms are START.parquet, START-00000-of-00002.parquet with anything
after it and, as the hub converts sets, START/0000.parquet, of which no name tells how many there are.
"""

import re
from collections import Counter
from collections.abc import Iterable

FORMS = re.compile(r"(?:-(?P<number>\d+)-of-(?P<total>\d+).*|/(?P<part>\d+))?\.parquet")


def shards(start: str, names: Iterable[str]) -> list[str]:
    """Those of a split, with those that are missing by the numbers of the others."""
    found = _parsed(start, names)
    numbers = {int(form["number"]) for form in found.values() if form["number"]}
    total = max((int(form["total"]) for form in found.values() if form["total"]), default=0)
    absent = [f"{start}-{n:05}-of-{total:05}.parquet" for n in {*range(total)} - numbers]
    parts = {int(form["part"]) for form in found.values() if form["part"]}
    absent += [f"{start}/{n:04}.parquet" for n in {*range(max(parts, default=0))} - parts]
    return sorted([*found, *absent])


def are_of_one_set(start: str, names: Iterable[str]) -> bool:
    """Whether the files of a split, of which there are some, are all of one form and total, each number once: else some
    hold the same images, left from another revision.
    """
    forms = _parsed(start, names).values()
    kinds = {(form["part"] is None, form["total"] and int(form["total"])) for form in forms}
    numbers = Counter(int(form["number"] or form["part"] or 0) for form in forms)
    beyond = any(form["total"] and int(form["number"]) >= int(form["total"]) for form in forms)
    return len(kinds) == 1 and max(numbers.values()) == 1 and not beyond


def _parsed(start: str, names: Iterable[str]) -> dict[str, re.Match[str]]:
    forms = {name: FORMS.fullmatch(name.removeprefix(start)) for name in names if name.startswith(start)}
    return {name: form for name, form in sorted(forms.items()) if form}
