"""`snakemake --logger studies`: a screen of studies in place of a line for each job.

Every Snakemake imports all its logger plugins, before any Snakefile says which clone's code is to be used. So nothing
of robust_transfer is imported here: the workflow's own code gives the screen (workflow/rules/common.smk). Until then,
and in any other workflow, Snakemake's own lines are shown.
"""

import sys
from logging import LogRecord
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase


class LogHandler(LogHandlerBase):
    """Hands Snakemake's records to a screen, which has `show(record)` and `close()`."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True  # a screen counts what --quiet leaves out, too
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        settings = self.common_settings
        self.screen: Any = None
        self.plain = ColorizingTextHandler(
            nocolor=settings.nocolor,
            stream=sys.stdout if settings.stdout else sys.stderr,
            formatter=DefaultFormatter(settings.quiet, settings.show_failed_logs),
            filter=DefaultFilter(
                settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
            ),
        )

    def emit(self, record: LogRecord) -> None:
        """Show it."""
        if self.screen is None:
            self.plain.handle(record)
        else:
            self.screen.show(record)

    def close(self) -> None:
        """End the screen: the run is over."""
        if self.screen is not None:
            self.screen.close()
        super().close()
