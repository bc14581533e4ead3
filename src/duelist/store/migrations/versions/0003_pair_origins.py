"""The distributions that drew a pair's responses; for pairs asked before, those of the responses."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for side in ("drawn_a", "drawn_b"):
        op.add_column("pairs", sa.Column(side, sa.Text(), nullable=True))
