"""What a model version is, in a file of its own, and its card."""

import sqlalchemy as sa
from alembic import op

revision = '0002_registry'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Versions that were registered before have neither."""
    op.add_column('model_version', sa.Column('record', sa.Text))
    op.add_column('model_version', sa.Column('card', sa.Text))
    op.create_index('ix_model_version_created_at', 'model_version', ['created_at'])
    op.create_index('ix_profile_created_at', 'profile', ['dataset', 'created_at'])
