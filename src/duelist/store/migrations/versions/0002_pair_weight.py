"""The weight of a pair in the loss; pairs asked before have weight 1."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("pairs", sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
