"""The columns by which a batch in quarantine was to replace rows."""

import sqlalchemy as sa
from alembic import op

revision = '0007_quarantine_key'
down_revision = '0006_quarantine_branch'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; what is there was to be a batch of its own."""
    op.add_column('quarantine', sa.Column('key', sa.Text))
