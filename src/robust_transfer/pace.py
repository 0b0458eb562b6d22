"""How fast something long goes and how much longer it takes, for the log; times and sizes as people say them."""

import logging
import time

log = logging.getLogger("robust_transfer")
EVERY = 10.0
"""Seconds between two lines of one thing."""


class Pace:
    """Counts what is done of something long, and tells the log now and then.

    unit: what is counted, in the plural. total: how many there are. done: how many an earlier run did; the rate is that
    of this one alone. at_most: whether it may end before.
    """

    def __init__(self, unit: str, total: int, done: int = 0, at_most: bool = False):
        self.unit, self.total, self.first, self.at_most = unit, total, done, at_most
        self.started = self.told = time.perf_counter()

    def tell(self, done: int, more: str = "") -> None:
        """Log a line, but not within EVERY seconds of the last; more: what it ends with."""
        now = time.perf_counter()
        if now - self.told >= EVERY and done < self.total:
            self.told = now
            log.info("%d of %d %s%s: %s", done, self.total, self.unit, more, self.rate(done))

    def rate(self, done: int) -> str:
        """`12.3 a second, 38 min left`; nothing while nothing is done."""
        seconds = time.perf_counter() - self.started
        if done <= self.first or seconds <= 0:
            return ""
        rate = (done - self.first) / seconds
        left = f"{in_words((self.total - done) / rate)} left{' at most' * self.at_most}"
        return f"{rate:.3g} a second, {left}" if rate >= 1 else f"{1 / rate:.3g} s each, {left}"


def in_words(seconds: float) -> str:
    """A time as people say it: `45 s`, `12 min`, `3.4 h`, `2.1 days`."""
    for unit, length in {"days": 86400, "h": 3600}.items():
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def in_bytes(count: float) -> str:
    """A size as people say it, of three digits: `40 bytes`, `1.5 kB`, `163 MB`, `5.04 GB`."""
    for unit, size in {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}.items():
        if count >= 0.9995 * size:  # or three digits would not do in the unit below
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
