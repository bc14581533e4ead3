"""Pairs become questions of two responses, and labels become answers; every row is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the new tables, copy every row, and drop the old ones, referring tables first."""
    op.create_table(
        "questions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("asks", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.UniqueConstraint("round", "position"),
    )
    op.create_index("ix_questions_round", "questions", ["round"])
    op.create_table(
        "question_responses",
        sa.Column("question_id", sa.Text(), sa.ForeignKey("questions.id"), primary_key=True),
        sa.Column("place", sa.Integer(), primary_key=True),
        sa.Column("response_id", sa.Text(), sa.ForeignKey("responses.id"), nullable=False),
        sa.Column("drawn_from", sa.Text()),
        sa.Column("reward", sa.Double()),
    )
    op.create_table(
        "answers",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("question_id", sa.Text(), sa.ForeignKey("questions.id"), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.Column("shown", sa.Text()),
        sa.Column("time", sa.Text()),
        sa.Column("n_a", sa.Integer()),
        sa.Column("n_b", sa.Integer()),
        sa.Column("n_eq", sa.Integer()),
        sa.Column("content", sa.JSON()),
        sa.Column("recorded_at", sa.Text(), nullable=False),
    )
    op.create_index("ix_answers_question_id", "answers", ["question_id"])
    op.execute(
        "INSERT INTO questions (id, asks, round, position, score, unit, margin, weight) "
        "SELECT id, 'pair', round, position, score, unit, margin, weight FROM pairs"
    )
    for place, side in enumerate("ab"):
        op.execute(
            "INSERT INTO question_responses (question_id, place, response_id, drawn_from) "
            f"SELECT id, {place}, {side}, drawn_{side} FROM pairs"
        )
    same = "number, id, {}, annotator, outcome, seconds, shown, time, n_a, n_b, n_eq, recorded_at"
    op.execute(f"INSERT INTO answers ({same.format('question_id')}) SELECT {same.format('pair_id')} FROM labels")
    op.drop_table("labels")
    op.drop_table("pairs")
