"""Questions and acts as the JSON API shows them: rendered, in displayed order."""

from __future__ import annotations

from dataclasses import asdict

from duelist.web.characters import visible
from duelist.web.rendering import render
from duelist.web.schemas import MessageView, NextView, ProgressView, ResponseView, TaskView, WaitView
from duelist.web.tasks import DeskProgress, Task, Wait


def task_view(task: Task) -> TaskView:
    """Return a task with its texts rendered; the order of the responses is that of the lease."""
    by_id = {r.id: r for r in task.item.responses}
    ordered = [by_id[i] for i in task.lease.shown]
    return TaskView(
        task_id=task.lease.id,
        question_id=task.item.id,
        asks=task.item.asks,
        expires_at=task.lease.expires_at,
        prompt=[MessageView(role=m.role, html=render(m.text), text=visible(m.text)) for m in task.item.prompt],
        responses=[ResponseView(id=r.id, html=render(r.text), text=visible(r.text)) for r in ordered],
    )


def progress_view(progress: DeskProgress) -> ProgressView:
    """Return the progress as JSON."""
    return ProgressView(**asdict(progress))


def next_view(found: Task | Wait, progress: DeskProgress) -> NextView:
    """Return the next question, or why there is none."""
    if isinstance(found, Wait):
        wait = WaitView(reason=found.reason, retry_seconds=found.retry_seconds)
        return NextView(task=None, wait=wait, progress=progress_view(progress))
    return NextView(task=task_view(found), wait=None, progress=progress_view(progress))
