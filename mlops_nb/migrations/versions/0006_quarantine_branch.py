"""The branch to which a batch in quarantine was to go."""

import sqlalchemy as sa
from alembic import op

revision = '0006_quarantine_branch'
down_revision = '0005_review'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; what is there was to go to main, as far as anybody knows."""
    op.add_column('quarantine', sa.Column('branch', sa.Text, nullable=False, server_default='main'))
