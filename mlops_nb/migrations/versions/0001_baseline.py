"""The catalogue as it began."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, *, key: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _time(name: str = 'created_at') -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        'file',
        _text('digest', key=True),
        _text('kind'),
        sa.Column('bytes', sa.BigInteger, nullable=False),
        _time(),
    )
    op.create_table(
        'alias',
        *(_text(name, key=True) for name in ('kind', 'name', 'alias')),
        sa.Column('version', sa.Integer, nullable=False),
        sa.Column('revision', sa.Integer, nullable=False),
    )
    op.create_table(
        'dataset_version',
        _text('dataset', key=True),
        sa.Column('version', sa.Integer, primary_key=True, autoincrement=False),
        _text('batch'),
        sa.Column('parts', sa.JSON, nullable=False),
        sa.Column('rows', sa.BigInteger, nullable=False),
        sa.Column('schema', sa.JSON, nullable=False),
        sa.Column('contract', sa.Text),
        sa.Column('profile', sa.Text),
        _time(),
        *(_text(name) for name in ('created_by', 'run', 'message')),
    )
    op.create_table(
        'profile',
        *(_text(name, key=True) for name in ('dataset', 'batch', 'role', 'model')),
        _text('digest'),
        sa.Column('version', sa.Integer),
        sa.Column('rows', sa.BigInteger, nullable=False),
        _time(),
    )
    op.create_table(
        'model_version',
        _text('model', key=True),
        sa.Column('version', sa.Integer, primary_key=True, autoincrement=False),
        _text('file'),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ('metrics', 'gates', 'datasets')),
        sa.Column('run', sa.Text),
        _time(),
        _text('created_by'),
        sa.Column('environment', sa.JSON, nullable=False),
        sa.UniqueConstraint('model', 'run', name='model_run'),
    )
    op.create_table(
        'metric',
        _text('model', key=True),
        sa.Column('version', sa.Integer, primary_key=True, autoincrement=False),
        *(_text(name, key=True) for name in ('batch', 'name')),
        sa.Column('value', sa.Double, nullable=False),
        _text('run'),
        _time(),
    )
    op.create_table(
        'drift_report',
        sa.Column('id', sa.Integer, primary_key=True),
        *(_text(name) for name in ('model', 'dataset', 'batch', 'result', 'page', 'verdict')),
        _time(),
        *(_text(name) for name in ('created_by', 'run')),
        sa.UniqueConstraint('model', 'batch', name='model_batch'),
    )
    op.create_table(
        'decision',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('report', sa.Integer, nullable=False, index=True),
        _text('action'),
        sa.Column('column', sa.Text),
        *(_text(name) for name in ('why', 'who', 'rules_hash')),
        _time(),
    )
    op.create_table(
        'edge',
        *(_text(name, key=True) for name in ('source', 'target', 'relation')),
        _time(),
        sa.Index('ix_edge_target', 'target'),
    )
    op.create_table(
        'audit',
        sa.Column('number', sa.Integer, primary_key=True, autoincrement=False),
        _time('at'),
        *(_text(name) for name in ('who', 'action', 'subject', 'details', 'previous', 'hash')),
        sa.Index('ix_audit_subject', 'subject'),
    )
