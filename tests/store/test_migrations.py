"""The catalogue of each release becomes the newest one, with everything in it; a newer one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from databases import new_project, postgres, settings  # noqa: F401

import mlops_nb
from mlops_nb.core import Settings, StoreError, now
from mlops_nb.data import changes, commit, find, load, versions
from mlops_nb.store import open_store
from mlops_nb.store.artifacts import to_parquet
from mlops_nb.store.folder import Files
from mlops_nb.store.schema import made_by, metadata
from mlops_nb.store.store import FORMAT, found_format, make_engine

CONFIG = Config()
CONFIG.set_main_option('script_location', str(Path(mlops_nb.__path__[0], 'migrations')))
RELEASED = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()][::-1]


def begin_at(settings: Settings, revision: str) -> sa.Engine:  # noqa: F811
    "A catalogue as an older release made it."
    Path(settings.store_url, 'files', 'tmp').mkdir(parents=True)
    engine = make_engine(settings.catalog_url)
    with engine.execution_options(write=True).begin() as connection:
        CONFIG.attributes['connection'] = connection
        command.upgrade(CONFIG, revision)
    return engine


@pytest.mark.parametrize('revision', RELEASED)
def test_each_released_catalogue_becomes_the_newest(settings: Settings, revision: str) -> None:  # noqa: F811
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    begin_at(settings, revision).dispose()
    store = open_store(settings)
    with store.engine.connect() as connection:
        assert found_format(connection) == FORMAT == RELEASED[-1]
        context = MigrationContext.configure(connection, opts={'compare_type': True})
        assert compare_metadata(context, metadata) == []
    assert commit(store, 'rows', pa.table({'n': [1]}), batch='a').version == 1


def test_versions_of_the_first_release_are_read_as_they_were(settings: Settings) -> None:  # noqa: F811
    engine = begin_at(settings, '0001')
    files, tables = Files(Path(settings.store_url, 'files')), [pa.table({'n': [i, i + 1]}) for i in range(3)]
    digests = [files.put(to_parquet(table)) for table in tables]
    times = {'first': '2013-07-01T05:00:00+00:00', 'last': None}
    lists = [['a', 0]], [['a', 0], ['b', 1]], [['a', 2], ['b', 1]]
    insert = sa.text(
        'INSERT INTO dataset_version (dataset, version, batch, parts, rows, schema, contract, created_at, '
        "created_by, run, message) VALUES ('rows', :version, :batch, :parts, :rows, :schema, NULL, :at, "
        "'ada', '', '')"
    ).bindparams(sa.bindparam('at', type_=sa.DateTime(timezone=True)))
    with engine.execution_options(write=True).begin() as connection:
        for number, parts in enumerate(lists, 1):
            kept = [{'digest': digests[i], 'batch': batch, 'rows': 2, **times} for batch, i in parts]
            values = {'parts': json.dumps({'format': 1, 'parts': kept}), 'rows': 2 * len(parts), 'at': now()}
            values |= {'schema': json.dumps({'format': 1, 'columns': [['n', 'int64']]})}
            connection.execute(insert, {**values, 'version': number, 'batch': parts[-1][0]})
    engine.dispose()
    store = open_store(settings)
    for number, parts in enumerate(lists, 1):
        expected = [n for _, i in parts for n in tables[i]['n'].to_pylist()]
        assert load(store, f'rows@{number}').arrow()['n'].to_pylist() == expected
    assert find(store, 'rows@1').parts[0].first.isoformat() == times['first']
    assert list(versions(store, 'rows').branch) == ['main'] * 3
    assert changes(store, 'rows@2', 'rows@3').replaced == ('a',)
    assert commit(store, 'rows', tables[0], batch='b').parts[0].digest == digests[2]


def test_a_newer_catalogue_is_refused_with_the_release_to_install(tmp_path: Path) -> None:
    store = open_store(new_project(tmp_path))
    with store.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(made_by.insert().values(format='9999', release='7.1.0', created_at=now()))
    with pytest.raises(
        StoreError, match=r"format 9999, made by mlops_nb 7.1.0.*pip install 'mlops-nb>=7.1.0'"
    ):
        open_store(store.settings)
