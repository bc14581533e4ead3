"""JSON API of the labelling page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.responses import Response

from duelist.web.access import Access, Signed, forbidden
from duelist.web.desk import Desk
from duelist.web.schemas import (
    ActForm,
    DoneView,
    ErrorView,
    HistoryView,
    NextForm,
    NextView,
    PastAct,
    RecordedView,
    ShownForm,
    UndoForm,
    UndoneView,
)
from duelist.web.tasks import Mode
from duelist.web.views import next_view, progress_view, task_view

# As a schema, not as a model: FastAPI would build the model's validator for each status of each route.
_REFUSAL = {"description": "Refused", "content": {"application/json": {"schema": ErrorView.model_json_schema()}}}
_STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 503)
REFUSALS: dict[int | str, dict[str, Any]] = dict.fromkeys(_STATUSES, _REFUSAL)


def people_api(desk: Desk, access: Access) -> APIRouter:
    """Return the routes that the labelling page calls."""
    routes = APIRouter(prefix="/api", responses=REFUSALS, tags=["people"])
    acting, signed = Depends(access.as_acting), Depends(access.as_signed)

    @routes.post("/next", response_model=NextView)
    def next_question(form: NextForm, who: Signed = acting) -> Response:
        """Return the next question, or why there is none."""
        found = desk.next(who.member.name, form.hold, _mode(who))
        return _json(next_view(found, desk.progress(who.member.name)))

    @routes.post("/acts", response_model=RecordedView)
    def act(form: ActForm, who: Signed = acting) -> Response:
        """Record an answer; return once it is safe on disk."""
        told = desk.act(who.member.name, form.model_dump(exclude_unset=True))
        progress = progress_view(desk.progress(who.member.name))
        return _json(RecordedView(duplicate=told.duplicate, counts=told.counts, note=told.note, progress=progress))

    @routes.post("/undo")
    def undo(form: UndoForm, who: Signed = acting) -> UndoneView:
        """Take back an answer, and give its question again."""
        undone = desk.undo(who.member.name, form.act_id, form.undoes)
        progress = progress_view(desk.progress(who.member.name))
        return UndoneView(task=task_view(undone.task), previous=dict(undone.previous), progress=progress)

    @routes.get("/history")
    def history(who: Signed = signed) -> HistoryView:
        """Return the answers that can be taken back, newest first."""
        acts = desk.history(who.member.name)
        return HistoryView(
            acts=[PastAct(act_id=a.id, question_id=a.question_id, outcome=a.sent["outcome"], at=a.at) for a in acts]
        )

    @routes.post("/shown")
    def shown(form: ShownForm, who: Signed = acting) -> DoneView:
        """Record that a question came on screen."""
        desk.shown(who.member.name, form.task_id, form.question_id, form.shown)
        return DoneView()

    return routes


def _json(view: BaseModel) -> Response:
    """Return a view as it is sent; FastAPI would check and encode it in two more turns of another thread."""
    return Response(view.model_dump_json(), media_type="application/json")


def _mode(who: Signed) -> Mode:
    """Return the queue of the page, if the person's role has it."""
    if who.mode == "adjudicate" and who.member.role == "annotator":
        raise forbidden("adjudicator", who.member)
    if who.mode == "annotate" and who.member.role == "adjudicator":
        raise forbidden("annotator", who.member)
    return who.mode
