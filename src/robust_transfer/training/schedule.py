"""The learning rate at every iteration."""

import math

from robust_transfer.plan.specs import Schedule


def learning_rate(schedule: Schedule, iteration: int, per_epoch: int) -> float:
    """The rate of an iteration (from 0), given iterations an epoch.

    steps: lr * gamma^(milestones reached), changed between epochs; cosine: half a cosine to zero over all iterations.
    """
    if schedule.decay == "steps":
        epoch = iteration // per_epoch
        return schedule.lr * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    if schedule.decay == "cosine":
        return schedule.lr * (1 + math.cos(math.pi * iteration / (schedule.epochs * per_epoch))) / 2
    return schedule.lr
