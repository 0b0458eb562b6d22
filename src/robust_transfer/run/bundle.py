"""A bundle on its node of the cluster: several small things made one after the other, and a record of how far it is.

See plan/bundles.py, which submits it. A bundle that Slurm puts back into the queue makes what it has not made yet; one
whose Snakemake was killed, and that another has taken the place of (plan/stopping.py), makes nothing.
"""

import json
import os
import sys
import time
from pathlib import Path

VARIABLE = "ROBUST_TRANSFER_BUNDLE"
"""Names the record, in a bundle's jobs."""
FOLDER = Path(".snakemake/bundles")
BEGUN, STARTED, DONE = "begun", "started", "done"
TRIES, BETWEEN = 5, 2.0
"""How often a line is tried to be written, and the seconds between two tries."""


class Record:
    """What a bundle has started and done, by the logs of its jobs: a line each, so that none is lost with the node."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, word: str, log: str | Path = "") -> None:
        """Write a line down; tried for some seconds, and then let be: a full disk fails nothing that is well made."""
        for left in reversed(range(TRIES)):
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(f"{word} {log}\n")
                return
            except OSError:
                time.sleep(BETWEEN if left else 0)

    def _lines(self) -> list[tuple[str, str]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = (line.partition(" ") for line in text.split("\n")[:-1])  # what is not ended is being written
        return [(word, log) for word, _, log in lines]

    def done(self) -> set[str]:
        """What is made."""
        return {log for word, log in self._lines() if word == DONE}

    def settled(self) -> set[str]:
        """What is made, and left behind for something else: Snakemake has looked at it and noted it, too."""
        lines = self._lines()
        last = max((at for at, (word, _) in enumerate(lines) if word == STARTED), default=0)
        return {log for word, log in lines[:last] if word == DONE}

    def started(self) -> set[str]:
        """What was started, made or not, since the bundle was last put on a node."""
        found: set[str] = set()
        for word, log in self._lines():
            found = set() if word == BEGUN else found | {log} if word == STARTED else found
        return found


def of_this_job() -> Record | None:
    """The record of the bundle that this process works for, if it does."""
    path = os.environ.get(VARIABLE)
    return Record(Path(path)) if path else None


def main(name: str) -> int:
    """Become the Snakemake that makes what a bundle's file names and its record does not have yet."""
    path = Path(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"{path} is gone: the Snakemake that wanted it has ended, and nothing is made", file=sys.stderr)
        return 0
    record = Record(path.with_suffix(".record"))
    done = record.done()
    left = [target for log, target in content["targets"].items() if log not in done]
    if not left:
        return 0
    record.add(BEGUN)
    before, after = content["command"]
    os.environ[VARIABLE] = str(record.path)
    command = f"{before}--target-jobs {' '.join(left)}{after}"
    os.execv("/bin/sh", ["sh", "-c", command])
