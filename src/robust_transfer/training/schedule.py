"""The learning rate at every iteration."""

import math

from robust_transfer.plan.specs import Schedule


def iterations_of(schedule: Schedule, per_epoch: int) -> int:
    """How many iterations a training has, given how many make an epoch."""
    return schedule.iterations or schedule.epochs * per_epoch


def learning_rate(schedule: Schedule, iteration: int, per_epoch: int) -> float:
    """The rate of an iteration (from 0), given iterations an epoch.

    steps: lr * gamma^(milestones reached), which count epochs or iterations, as the schedule's length does;
    cosine: half a cosine to zero over all iterations. A warm-up multiplies the rate by the part of it that is done, and
    does not shift the rest.
    """
    rising = schedule.warm_up * (per_epoch if schedule.epochs else 1)
    return _shape(schedule, iteration, per_epoch) * min(1.0, (iteration + 1) / rising if rising else 1.0)


def _shape(schedule: Schedule, iteration: int, per_epoch: int) -> float:
    if schedule.decay == "steps":
        reached = iteration // per_epoch if schedule.epochs else iteration
        return schedule.lr * schedule.gamma ** sum(reached >= milestone for milestone in schedule.milestones)
    if schedule.decay == "cosine":
        return schedule.lr * (1 + math.cos(math.pi * iteration / iterations_of(schedule, per_epoch))) / 2
    return schedule.lr
