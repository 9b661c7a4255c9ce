"""The page of Luigi's scheduler: how far a run is, told from a thread that never holds up the run."""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import luigi
from luigi.scheduler import RUNNING  # type: ignore[attr-defined]

logger = logging.getLogger("luigi-interface.luisy_dir")

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0


class SchedulerPage:
    """Tells the scheduler the progress of a task while it runs, at most once a second.

    Every call to the scheduler is a remote one: where it is gone, a call takes a minute and then raises. So calls are
    made in a thread of their own, errors are logged once and swallowed, and the end of the run waits for the last call
    for two seconds at most. Where the task does not run in a Luigi worker, nothing is told.

    Parameters
    ----------
    task
        The task that runs.
    tell
        ``tell() -> (percentage, text)``; called in the thread. The text may hold any characters: it is escaped here,
        because Luigi's page inserts it as HTML.
    tracking_url
        ``tracking_url() -> address or None`` of a page that shows more; called once, in the thread.
    """

    def __init__(
        self, task: luigi.Task, tell: Callable[[], tuple[float, str]], tracking_url: Callable[[], str | None]
    ) -> None:
        self._task = task
        self._tell = tell
        self._tracking_url = tracking_url
        # Luigi takes these away when run() has ended, perhaps before the thread has.
        self._set_percentage = getattr(task, "set_progress_percentage", None)
        self._set_message = getattr(task, "set_status_message", None)
        self._reporter = getattr(getattr(task, "set_tracking_url", None), "__self__", None)
        self._stop = threading.Event()
        self._has_warned = False
        self._thread = threading.Thread(target=self._repeat, name="luisy_dir-progress", daemon=True)

    def __enter__(self) -> Self:
        if self._set_percentage is not None and self._set_message is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_SECONDS)

    def _repeat(self) -> None:
        self._try(self._link)
        told: tuple[float, str] | None = None
        is_over = False
        while True:
            now = self._tell()
            if now != told and self._try(partial(self._report, *now)):
                told = now
            if is_over:
                return
            is_over = self._stop.wait(_PAUSE_SECONDS)

    def _report(self, percentage: float, text: str) -> None:
        assert self._set_percentage is not None  # noqa: S101 - the thread is not started otherwise
        assert self._set_message is not None  # noqa: S101
        self._set_percentage(int(percentage))
        self._set_message(html.escape(text))

    def _link(self) -> None:
        """Tell the tracking URL, with all that the scheduler would forget of the task otherwise.

        In Luigi 3.8 ``set_tracking_url`` adds the task anew, with neither resources nor retry policy.
        """
        try:
            url = self._tracking_url()
        except Exception as error:  # noqa: BLE001 - the user's own
            logger.warning("get_tracking_url() raised %s: %s. There is no link.", type(error).__name__, error)
            return
        if not url or self._reporter is None:
            return
        task, reporter = self._task, self._reporter
        reporter._scheduler.add_task(  # noqa: SLF001 - there is no other way to it
            task_id=reporter._task_id,  # noqa: SLF001
            worker=reporter._worker_id,  # noqa: SLF001
            status=RUNNING,
            tracking_url=url,
            resources=task.process_resources(),
            accepts_messages=task.accepts_messages,
            retry_policy_dict={
                "retry_count": task.retry_count,
                "disable_hard_timeout": task.disable_hard_timeout,
                "disable_window": task.disable_window,
            },
        )

    def _try(self, call: Callable[[], Any]) -> bool:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the page, the run goes on
            if not self._has_warned:
                self._has_warned = True
                logger.warning("The scheduler cannot be told of progress, and the run goes on: %s", error)
            return False
        return True
