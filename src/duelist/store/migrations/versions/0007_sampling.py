"""Questions get the probability with which they were asked, and whether they are in the control slice."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; both stay empty for the questions asked so far."""
    op.add_column("questions", sa.Column("inclusion", sa.Double()))
    op.add_column("questions", sa.Column("control", sa.Boolean()))
