"""The fixture of the cluster tests."""

from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, missing_requirement


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    """A fresh Slurm cluster for each test: it starts in under two seconds, and tests break its nodes."""
    if reason := missing_requirement():
        pytest.skip(f"no Slurm cluster here: {reason}")
    with SlurmCluster() as running:
        yield running
