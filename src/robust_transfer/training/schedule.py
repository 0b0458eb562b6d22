"""The learning rate at every iteration."""

import math
from dataclasses import dataclass

from robust_transfer.specs.schedules import Schedule


def iterations_of(schedule: Schedule, per_epoch: int) -> int:
    """How many iterations a training has, given how many make an epoch."""
    length, _ = schedule.length
    return in_iterations(schedule, length, per_epoch)


def in_iterations(schedule: Schedule, span: int, per_epoch: int) -> int:
    """A span in the unit of the schedule's length, in iterations."""
    return span * per_epoch if schedule.epochs else span


@dataclass
class Plateau:
    """Whether an accuracy still grows. best: so far. since: epochs without a new best. falls: of the learning rate."""

    best: float | None = None
    since: int = 0
    falls: int = 0

    def look(self, value: float, patience: int) -> None:
        """Note an epoch's value; after `patience` epochs without a new best the rate falls, and they count anew."""
        if self.best is None or value > self.best:
            self.best, self.since = value, 0
            return
        self.since += 1
        if self.since >= patience:
            self.falls, self.since = self.falls + 1, 0

    def is_over(self, schedule: Schedule) -> bool:
        """Whether the last of the schedule's falls has come."""
        return schedule.decay == "plateau" and self.falls >= schedule.falls


def learning_rate(schedule: Schedule, iteration: int, per_epoch: int, falls: int = 0) -> float:
    """The rate of an iteration (from 0), given iterations an epoch.

    steps: lr * gamma^(milestones reached), which count epochs or iterations, as the schedule's length does;
    cosine: half a cosine to zero over all iterations; plateau: lr * gamma^falls. A warm-up multiplies the rate by the
    part of it that is done, and does not shift the rest.
    """
    rising = in_iterations(schedule, schedule.warm_up, per_epoch)
    return _shape(schedule, iteration, per_epoch, falls) * min(1.0, (iteration + 1) / rising if rising else 1.0)


def _shape(schedule: Schedule, iteration: int, per_epoch: int, falls: int) -> float:
    if schedule.decay == "plateau":
        return schedule.lr * schedule.gamma**falls
    if schedule.decay == "steps":
        reached = iteration // per_epoch if schedule.epochs else iteration
        return schedule.lr * schedule.gamma ** sum(reached >= milestone for milestone in schedule.milestones)
    if schedule.decay == "cosine":
        return schedule.lr * (1 + math.cos(math.pi * iteration / iterations_of(schedule, per_epoch))) / 2
    return schedule.lr
