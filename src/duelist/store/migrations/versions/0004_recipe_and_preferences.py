"""The study's current recipe, and the labels from which preferences.jsonl was last written."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. They are filled when the study is opened."""
    op.create_table(
        "recipes",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("recorded_at", sa.Text(), nullable=False),
    )
    op.create_table(
        "preferences_files",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Text(), nullable=False),
    )
