"""Decisions about several columns, from when and until when; the cause of a report; bad batches; alarms."""

import sqlalchemy as sa
from alembic import op

revision = '0005_review'
down_revision = '0004_quarantine'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what decisions and alarms need; a decision about one column is now about a list of them."""
    op.add_column('decision', sa.Column('about', sa.JSON, nullable=False, server_default='[]'))
    for name in 'since', 'until':
        op.add_column('decision', sa.Column(name, sa.Text, nullable=False, server_default=''))
    decision = sa.table('decision', sa.column('id'), sa.column('column'), sa.column('about', sa.JSON))
    connection = op.get_bind()
    of_columns = sa.select(decision.c.id, decision.c.column).where(decision.c.column.is_not(None))
    for row in connection.execute(of_columns).all():
        here = decision.update().where(decision.c.id == row.id)
        connection.execute(here.values(about=[row.column]))
    op.drop_column('decision', 'column')
    op.add_column('drift_report', sa.Column('cause', sa.JSON, nullable=False, server_default='[]'))
    op.create_table(
        'bad_batch',
        sa.Column('dataset', sa.Text, primary_key=True),
        sa.Column('batch', sa.Text, primary_key=True),
        sa.Column('report', sa.Integer, nullable=False),
    )
    op.create_table(
        'alarm',
        sa.Column('report', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('place', sa.Text, primary_key=True),
        sa.Column('state', sa.Text, nullable=False),
        sa.Column('error', sa.Text, nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    )
