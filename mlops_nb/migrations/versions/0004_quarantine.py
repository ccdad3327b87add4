"""Batches that broke their contract, and versions of rows that stay where they are."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0004_quarantine'
down_revision = '0003_versions'
branch_labels = None
depends_on = None


def _text(name: str, *, key: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _time(name: str = 'created_at') -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        'quarantine',
        sa.Column('number', sa.Integer, primary_key=True),
        *(_text(name) for name in ('dataset', 'batch')),
        sa.Column('rows', sa.BigInteger, nullable=False),
        *(_text(name) for name in ('data', 'reasons')),
        sa.Column('contract', sa.Text),
        *(_text(name) for name in ('error', 'status')),
        sa.Column('version', sa.Integer),
        _time(),
        *(_text(name) for name in ('created_by', 'run', 'message')),
    )
    op.create_table(
        'reference',
        _text('name', key=True),
        sa.Column('version', sa.Integer, primary_key=True, autoincrement=False),
        *(_text(name) for name in ('kind', 'place', 'identity')),
        sa.Column('rows', sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ('schema', 'options')),
        _text('profile'),
        _time(),
        *(_text(name) for name in ('created_by', 'run', 'message')),
    )
