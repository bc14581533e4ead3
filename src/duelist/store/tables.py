"""Tables of the study database. Rows are only ever added; the schema changes by migrations (store/migrations)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from duelist.types import Distribution


class Base(DeclarativeBase):
    """Base class of the tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, str: Text, Distribution: Text}  # noqa: RUF012 (SQLAlchemy's interface)


class PromptRow(Base):
    """Prompt of an asked question."""

    __tablename__ = "prompts"
    id: Mapped[str] = mapped_column(primary_key=True)
    messages: Mapped[list[Any]]
    plain: Mapped[bool]
    columns: Mapped[dict[str, Any]]


class ResponseRow(Base):
    """Response of an asked question."""

    __tablename__ = "responses"
    id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"))
    text: Mapped[str]
    prompt_token_ids: Mapped[list[Any]]
    token_ids: Mapped[list[Any]]
    round: Mapped[int]


class QuestionRow(Base):
    """Asked question: it has used budget, regardless of outcome.

    How it came into its batch is not known for questions asked by earlier versions.
    """

    __tablename__ = "questions"
    id: Mapped[str] = mapped_column(primary_key=True)
    asks: Mapped[str]
    round: Mapped[int] = mapped_column(index=True)
    position: Mapped[int]
    score: Mapped[float]
    unit: Mapped[str]
    margin: Mapped[float]
    weight: Mapped[float]
    inclusion: Mapped[float | None]
    control: Mapped[bool | None]
    propensity: Mapped[float | None]
    candidates_left: Mapped[int | None]
    __table_args__ = (UniqueConstraint("round", "position"),)


class QuestionResponseRow(Base):
    """Response of an asked question, by its place in the question's order.

    `reward` is the model's reward of the response when it was asked; not known for pairs asked by earlier versions.
    """

    __tablename__ = "question_responses"
    question_id: Mapped[str] = mapped_column(ForeignKey("questions.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    response_id: Mapped[str] = mapped_column(ForeignKey("responses.id"))
    drawn_from: Mapped[Distribution | None]
    reward: Mapped[float | None]


class AnswerRow(Base):
    """One decision, as it arrived: a label of a pair, or an answer to a larger question.

    Rows never change; the greatest number per question and annotator counts. `content` holds the part of an answer that
    a label does not have.
    """

    __tablename__ = "answers"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    question_id: Mapped[str] = mapped_column(ForeignKey("questions.id"), index=True)
    annotator: Mapped[str]
    outcome: Mapped[str]
    seconds: Mapped[float | None]
    shown: Mapped[str | None]
    time: Mapped[str | None]
    n_a: Mapped[int | None]
    n_b: Mapped[int | None]
    n_eq: Mapped[int | None]
    content: Mapped[dict[str, Any] | None]
    recorded_at: Mapped[str]


class StageRow(Base):
    """Finished stage of a round, and the artifact it wrote."""

    __tablename__ = "stages"
    round: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    artifact: Mapped[str]
    digest: Mapped[str]
    seconds: Mapped[float]
    info: Mapped[dict[str, Any]]
    finished_at: Mapped[str]


class RoundRow(Base):
    """Closed round and its metrics; round 0 is the initial model."""

    __tablename__ = "rounds"
    round: Mapped[int] = mapped_column(primary_key=True)
    metrics: Mapped[dict[str, Any]]


class RecipeRow(Base):
    """Recipe of the study; the greatest number counts."""

    __tablename__ = "recipes"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    content: Mapped[dict[str, Any]]
    recorded_at: Mapped[str]


class PreferencesFileRow(Base):
    """Write of preferences.jsonl: label count and digest; the greatest number counts."""

    __tablename__ = "preferences_files"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    labels: Mapped[int]
    digest: Mapped[str]
    recorded_at: Mapped[str]
