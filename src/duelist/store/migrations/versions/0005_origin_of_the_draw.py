"""The distributions that drew the responses move from the response to the pair; pairs without them are filled."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Fill in the pairs' origins, and drop the responses'."""
    for side in ("a", "b"):
        op.execute(
            f"UPDATE pairs SET drawn_{side} = (SELECT drawn_from FROM responses WHERE responses.id = pairs.{side}) "
            f"WHERE drawn_{side} IS NULL"
        )
    op.drop_column("responses", "drawn_from")
