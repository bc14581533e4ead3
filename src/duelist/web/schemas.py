"""Forms of the JSON API: what a page may send, bounded, and what it gets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from duelist.web.items import Asks
from duelist.web.record import Role
from duelist.web.tasks import WaitReason

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=50_000)]
Ids = Annotated[list[Id], Field(max_length=64)]
Outcome = Literal["prefer", "tie", "both_bad", "both_good", "skip", "ranked", "all_bad", "all_good"]


class Form(BaseModel):
    """A request's body: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NextForm(Form):
    """Questions that the page shows already, or has unsent answers for."""

    hold: Ids = []


class Placed(Form):
    """When a card was placed, in seconds since the question came on screen."""

    id: Id
    seconds: Seconds


class ActForm(Form):
    """One answer."""

    act_id: Uuid
    task_id: Id
    question_id: Id
    shown: Ids
    outcome: Outcome
    chosen: Id | None = None
    ranking: Annotated[list[Ids], Field(max_length=64)] | None = None
    stopped: bool = False
    best: Id | None = None
    worst: Id | None = None
    placed: Annotated[list[Placed], Field(max_length=1000)] | None = None
    active_seconds: Seconds
    idle_seconds: Seconds = 0.0
    strength: Literal["slightly", "clearly"] | None = None
    reasons: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)] | None = None
    comment: Text | None = None
    better: Text | None = None


class UndoForm(Form):
    """Taking back an answer."""

    act_id: Uuid
    undoes: Uuid


class ShownForm(Form):
    """A question came on screen."""

    task_id: Id
    question_id: Id
    shown: Ids


class PauseForm(Form):
    """Stop or resume giving out questions."""

    paused: bool


class InviteForm(Form):
    """A person to invite."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: Role


class RevokeForm(Form):
    """A person whose access ends."""

    name: Annotated[str, Field(min_length=1, max_length=64)]


class OverlapForm(Form):
    """How many people shall answer a question."""

    question_id: Id
    labels: Annotated[int, Field(ge=1, le=100)]


class MessageView(BaseModel):
    """One message of a prompt."""

    role: str
    html: str
    text: str


class ResponseView(BaseModel):
    """One response, at its displayed place."""

    id: str
    html: str
    text: str
    direction: Literal["auto"] = "auto"


class TaskView(BaseModel):
    """A question to answer; the first response is displayed left or first."""

    task_id: str
    question_id: str
    asks: Asks
    expires_at: str
    prompt: list[MessageView]
    responses: list[ResponseView]


class WaitView(BaseModel):
    """Nothing to answer now."""

    reason: WaitReason
    retry_seconds: int


class ProgressView(BaseModel):
    """Progress of the batch, and of the person."""

    batch: int
    batch_done: int
    mine: int
    budget_left: int
    round: int
    rounds: int
    seconds_median: float | None


class NextView(BaseModel):
    """The next question, or why there is none."""

    task: TaskView | None
    wait: WaitView | None
    progress: ProgressView


class RecordedView(BaseModel):
    """What became of an answer."""

    recorded: Literal[True] = True
    duplicate: bool
    counts: bool
    note: str
    progress: ProgressView


class UndoneView(BaseModel):
    """The question again, and the answer as it had been sent."""

    task: TaskView
    previous: dict[str, Any]
    progress: ProgressView


class PastAct(BaseModel):
    """An answer that can be taken back."""

    act_id: str
    question_id: str
    outcome: Outcome
    at: str


class HistoryView(BaseModel):
    """Answers that can be taken back, newest first."""

    acts: list[PastAct]


class DoneView(BaseModel):
    """It is done."""

    done: Literal[True] = True


class LinkView(BaseModel):
    """A personal link. It is shown once."""

    link: str


class ErrorView(BaseModel):
    """Why a request was refused."""

    error: str
    message: str
