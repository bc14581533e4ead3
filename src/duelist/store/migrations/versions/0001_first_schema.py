"""The first schema: prompts, responses, pairs, labels, stages, rounds."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("plain", sa.Boolean(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
    )
    op.create_table(
        "responses",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("prompt_id", sa.Text(), sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("prompt_token_ids", sa.JSON(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=False),
        sa.Column("drawn_from", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
    )
    op.create_table(
        "pairs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("a", sa.Text(), sa.ForeignKey("responses.id"), nullable=False),
        sa.Column("b", sa.Text(), sa.ForeignKey("responses.id"), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.UniqueConstraint("round", "position"),
    )
    op.create_index("ix_pairs_round", "pairs", ["round"])
    op.create_table(
        "labels",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("pair_id", sa.Text(), sa.ForeignKey("pairs.id"), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.Column("shown", sa.Text()),
        sa.Column("time", sa.Text()),
        sa.Column("n_a", sa.Integer()),
        sa.Column("n_b", sa.Integer()),
        sa.Column("n_eq", sa.Integer()),
        sa.Column("recorded_at", sa.Text(), nullable=False),
    )
    op.create_index("ix_labels_pair_id", "labels", ["pair_id"])
    op.create_table(
        "stages",
        sa.Column("round", sa.Integer(), primary_key=True),
        sa.Column("stage", sa.Text(), primary_key=True),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=False),
    )
    op.create_table(
        "rounds",
        sa.Column("round", sa.Integer(), primary_key=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
    )
