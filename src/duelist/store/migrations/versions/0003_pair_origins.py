"""Which distributions drew a pair's responses for it; of pairs asked before, those that the responses name."""

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
