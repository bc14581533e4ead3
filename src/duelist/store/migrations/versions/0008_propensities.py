"""Questions get the probability of their draw, and the number of candidates that were left at it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; both stay empty for the questions asked so far."""
    op.add_column("questions", sa.Column("propensity", sa.Double()))
    op.add_column("questions", sa.Column("candidates_left", sa.Integer()))
