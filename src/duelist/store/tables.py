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
    """Prompt of an asked pair."""

    __tablename__ = "prompts"
    id: Mapped[str] = mapped_column(primary_key=True)
    messages: Mapped[list[Any]]
    plain: Mapped[bool]
    columns: Mapped[dict[str, Any]]


class ResponseRow(Base):
    """Response of an asked pair."""

    __tablename__ = "responses"
    id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"))
    text: Mapped[str]
    prompt_token_ids: Mapped[list[Any]]
    token_ids: Mapped[list[Any]]
    round: Mapped[int]


class PairRow(Base):
    """Asked pair: it has used budget, regardless of outcome."""

    __tablename__ = "pairs"
    id: Mapped[str] = mapped_column(primary_key=True)
    a: Mapped[str] = mapped_column(ForeignKey("responses.id"))
    b: Mapped[str] = mapped_column(ForeignKey("responses.id"))
    round: Mapped[int] = mapped_column(index=True)
    position: Mapped[int]
    score: Mapped[float]
    unit: Mapped[str]
    margin: Mapped[float]
    weight: Mapped[float]
    drawn_a: Mapped[Distribution | None]
    drawn_b: Mapped[Distribution | None]
    __table_args__ = (UniqueConstraint("round", "position"),)


class LabelRow(Base):
    """One decision, as it arrived. Rows never change; the greatest number per pair and annotator counts."""

    __tablename__ = "labels"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    pair_id: Mapped[str] = mapped_column(ForeignKey("pairs.id"), index=True)
    annotator: Mapped[str]
    outcome: Mapped[str]
    seconds: Mapped[float | None]
    shown: Mapped[str | None]
    time: Mapped[str | None]
    n_a: Mapped[int | None]
    n_b: Mapped[int | None]
    n_eq: Mapped[int | None]
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
