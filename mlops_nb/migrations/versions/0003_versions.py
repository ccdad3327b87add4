"""Parts in rows of their own, branches, statistics, erasures; which release made a format."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0003_versions'
down_revision = '0002_registry'
branch_labels = None
depends_on = None


def _text(name: str, *, key: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _time(name: str = 'created_at') -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def upgrade() -> None:
    """Add the tables, and write the parts of the versions that are there as rows."""
    op.add_column('dataset_version', sa.Column('branch', sa.Text, nullable=False, server_default='main'))
    op.add_column('dataset_version', sa.Column('parent', sa.Integer))
    op.add_column('dataset_version', sa.Column('source', sa.Text, nullable=False, server_default=''))
    part = op.create_table(
        'dataset_part',
        _text('dataset', key=True),
        _text('branch', key=True),
        *(
            sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)
            for name in ('position', 'since')
        ),
        sa.Column('until', sa.Integer),
        *(_text(name) for name in ('batch', 'digest', 'file')),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ('start', 'rows')),
        *(sa.Column(name, sa.Text) for name in ('first', 'last')),
        sa.Index('ix_dataset_part_batch', 'dataset', 'branch', 'batch'),
        sa.Index('ix_dataset_part_open', 'dataset', 'branch', 'until'),
        sa.Index('ix_dataset_part_file', 'file'),
    )
    op.create_table(
        'part_statistics', _text('digest', key=True), sa.Column('columns', sa.JSON, nullable=False)
    )
    op.create_table(
        'erasure',
        sa.Column('id', sa.Integer, primary_key=True),
        _text('dataset'),
        _time(),
        _text('created_by'),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ('summary', 'pending')),
    )
    op.create_table('made_by', _text('format', key=True), _text('release'), _time())
    _move_parts(op.get_bind(), part)
    op.drop_column('dataset_version', 'parts')


def _move_parts(connection: sa.Connection, part: sa.Table) -> None:
    """Turn each version's list of parts into rows that say from when until when a part stood."""
    found = sa.text('SELECT dataset, version, parts FROM dataset_version ORDER BY dataset, version')
    rows: list[dict[str, Any]] = []
    open_: dict[tuple[str, int], dict[str, Any]] = {}
    for version in connection.execute(found):
        kept = version.parts if isinstance(version.parts, dict) else json.loads(version.parts)
        for position, one in enumerate(kept['parts']):
            before = open_.get((version.dataset, position))
            if before is not None and before['digest'] == one['digest']:
                continue
            if before is not None:
                before['until'] = version.version
            row = {
                **one,
                'file': one['digest'],
                'start': 0,
                'dataset': version.dataset,
                'branch': 'main',
                'position': position,
                'since': version.version,
                'until': None,
            }
            open_[version.dataset, position] = row
            rows.append(row)
        parent = sa.text(
            'UPDATE dataset_version SET parent = :parent WHERE dataset = :dataset AND version = :version'
        )
        if version.version > 1:
            connection.execute(
                parent, {'parent': version.version - 1, 'dataset': version.dataset, 'version': version.version}
            )
    if rows:
        connection.execute(part.insert(), rows)
