"""Files, queries and frames become batches; rows elsewhere stay there and a change is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from commands import COMMAND
from databases import fresh_database, new_project, postgres  # noqa: F401
from small import Run

from mlops_nb.contracts import Column, Contract, read_contract, write_contract
from mlops_nb.core import ConflictError, ContractError, UsageError
from mlops_nb.data import Query, commit, held_batches, import_rows, load, read_reference, refer, versions
from mlops_nb.profiles import list_profiles
from mlops_nb.store import Store, open_store, trace
from mlops_nb.store.check import check

ROWS = Contract(
    'rows',
    (Column(name='n', type='int', minimum=0), Column(name='word', type='string', missing=True)),
    ('n',),
)
FRAME = pd.DataFrame({'n': [1, 2, 3], 'word': ['a', None, 'c']})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(new_project(tmp_path / 'project'))


def tables(rows: int, size: int = 1000) -> Iterator[pa.Table]:
    for start in range(0, rows, size):
        yield pa.table({'n': range(start, start + size), 'word': [f'word {i}' for i in range(size)]})


def test_the_same_rows_from_anywhere_are_stored_once(store: Store, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / 'rows.csv', index=False)
    FRAME.to_parquet(tmp_path / 'rows.parquet', index=False)
    database = sa.create_engine(f'sqlite:///{tmp_path}/rows.db')
    FRAME.to_sql('rows', database, index=False)
    database.dispose()
    query = Query(f'sqlite:///{tmp_path}/rows.db', 'SELECT * FROM rows ORDER BY n')
    arrow = pa.Table.from_pandas(FRAME)
    for data in FRAME, pl.from_pandas(FRAME), arrow, arrow.to_reader(), tmp_path / 'rows.csv', query:
        assert import_rows(store, 'rows', data, batch='a', contract=ROWS).version == 1, type(data)
    assert import_rows(store, 'rows', tmp_path / 'rows.parquet', batch='a', contract=ROWS).version == 1
    assert load(store, 'rows@1').arrow().to_pydict() == arrow.to_pydict()
    origins = trace(store, 'dataset:rows@1').nodes('source', up=True)
    assert [name.split()[0] for name in origins] == [
        'source:rows.csv',
        f'source:{query.url}',
        'source:rows.parquet',
    ]
    assert check(store) == []


def test_a_large_import_is_cut_into_parts_and_comes_back_whole(store: Store) -> None:
    seen: list[int] = []
    about = {'batch': 'big', 'contract': ROWS, 'size': 200_000}
    last = import_rows(store, 'rows', tables(40_000), progress=seen.append, **about)
    assert seen[-1] == 40_000 == last.rows and len(last.batches) > 3
    assert load(store, 'rows@latest').arrow()['n'].to_pylist() == list(range(40_000))
    assert last.version == 1 and list(versions(store)['batch']) == ['big']
    assert sorted(list_profiles(store)['batch']) == sorted(last.batches)
    assert import_rows(store, 'rows', tables(40_000), **about) == last and len(versions(store)) == 1


def test_an_import_takes_the_place_of_all_parts_of_its_batch_and_of_no_other(store: Store) -> None:
    about = {'contract': ROWS, 'size': 200_000}
    own = pa.table({'n': [50_001, 50_002, 50_003], 'word': ['a', 'b', None]})
    commit(store, 'rows', own, batch='big.9', contract=ROWS)  # somebody's own
    parts = import_rows(store, 'rows', tables(40_000), batch='big', **about).batches
    assert parts[:2] == ('big.9', 'big.1') and len(parts) > 4
    fewer = import_rows(store, 'rows', tables(25_000), batch='big', **about)
    assert (fewer.version, fewer.rows) == (3, 25_003) and 2 < len(fewer.batches) < len(parts)
    one = import_rows(store, 'rows', tables(1_000), batch='big', **about)
    assert one.batches == ('big.9', 'big') and one.rows == 1_003
    again = import_rows(store, 'rows', tables(40_000), batch='big', **about)
    assert again.batches == parts and again.version == 5
    assert load(store, 'rows@2').arrow().equals(load(store, 'rows@5').arrow()) and check(store) == []


def test_a_large_import_that_does_not_fit_the_dataset_is_in_quarantine_whole(store: Store) -> None:
    commit(store, 'rows', pa.table({'n': [1]}), batch='a')
    with pytest.raises(ContractError, match='word is new') as refused:
        import_rows(store, 'rows', tables(40_000), batch='big', size=200_000)
    kept = held_batches(store)
    assert kept['rows'].sum() == 40_000 and str(refused.value).count('quarantine show') == len(kept) > 3
    assert import_rows(store, 'rows', tables(40_000), batch='big', size=200_000, widen=True).version == 2


@pytest.mark.parametrize('where', [3, 39])
def test_a_mistake_anywhere_in_a_large_file_keeps_all_of_it_out(store: Store, where: int) -> None:
    def broken() -> Iterator[pa.Table]:
        for i, table in enumerate(tables(40_000)):
            yield table.set_column(0, 'n', pa.array([-1] * 1000)) if i == where else table

    with pytest.raises(ContractError, match='quarantine'):
        import_rows(store, 'rows', broken(), batch='big', contract=ROWS, size=200_000)
    assert versions(store).empty and len(held_batches(store)) == 1


def test_a_key_that_is_in_two_parts_is_refused(store: Store) -> None:
    twice = [*tables(40_000), *tables(1000)]  # the last thousand are the first ones again
    with pytest.raises(ContractError, match=r'found 1,000 keys \(n\) in several places'):
        import_rows(store, 'rows', twice, batch='big', contract=ROWS, size=200_000)
    assert versions(store).empty


def test_a_schema_that_changes_on_the_way_and_a_file_without_rows_are_refused(
    store: Store, tmp_path: Path
) -> None:
    changing = [pa.table({'n': [1]}), pa.table({'n': ['x']})]
    with pytest.raises(UsageError, match='from row 1 on, n is string; expected int64'):
        import_rows(store, 'rows', changing, batch='a')
    (tmp_path / 'empty.csv').write_text('n,word\n')
    with pytest.raises((UsageError, ContractError), match='rows'):
        import_rows(store, 'rows', tmp_path / 'empty.csv', batch='a')
    assert versions(store).empty


def test_a_file_ten_times_the_bound_is_imported_within_it(store: Store, tmp_path: Path) -> None:
    path = tmp_path / 'large.parquet'
    with pq.ParquetWriter(path, pa.schema([('n', pa.int64()), ('word', pa.string())])) as writer:
        for table in tables(8_000_000, 500_000):
            writer.write_table(table)
    code = (
        'import sys\nfrom pathlib import Path\nfrom mlops_nb.core import load_settings\n'
        'from mlops_nb.data import import_rows\nfrom mlops_nb.store import open_store\n'
        'store = open_store(load_settings(Path(sys.argv[1])))\n'
        'print(import_rows(store, "rows", Path(sys.argv[2]), batch="big", size=20_000_000).rows)\n'
        'status = Path("/proc/self/status").read_text()\n'  # getrusage's peak is at least that of the parent
        'print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, store.settings.root, path], capture_output=True, text=True, check=True
    )
    rows, peak = map(int, done.stdout.split())
    assert rows == 8_000_000 and peak < 600


def test_a_query_is_imported_from_postgresql(
    store: Store,
    request: pytest.FixtureRequest,
    postgres: str,  # noqa: F811
) -> None:
    url = fresh_database(request).replace('postgresql://', 'postgresql+psycopg://')
    database = sa.create_engine(url)
    FRAME.to_sql('rows', database, index=False)
    query = Query(url, 'SELECT * FROM rows')
    assert import_rows(store, 'rows', query, batch='a', contract=ROWS).rows == 3
    kept = refer(store, 'elsewhere', 'sql', url, sql=query.sql)
    assert read_reference(store, 'elsewhere@1').num_rows == kept.rows == 3
    FRAME.assign(n=[4, 5, 6]).to_sql('rows', database, index=False, if_exists='append')
    database.dispose()
    with pytest.raises(
        ConflictError, match='elsewhere@1 has changed underneath: found 6 rows; expected the 3 rows'
    ):
        read_reference(store, 'elsewhere@1')


def test_a_delta_snapshot_is_read_as_it_was_and_one_made_anew_is_noticed(
    store: Store, tmp_path: Path
) -> None:
    from deltalake import write_deltalake

    place = str(tmp_path / 'delta')
    write_deltalake(place, pa.table({'n': [1, 2]}))
    assert refer(store, 'lake', 'delta', place).version == 1
    write_deltalake(place, pa.table({'n': [3]}), mode='append')
    assert read_reference(store, 'lake@1').to_pydict() == {'n': [1, 2]}
    assert refer(store, 'lake', 'delta', place).version == 2
    assert sorted(read_reference(store, 'lake@2')['n'].to_pylist()) == [1, 2, 3]
    other = str(tmp_path / 'anew')
    write_deltalake(other, pa.table({'n': [1, 2]}))
    Path(place).rename(tmp_path / 'old')
    Path(other).rename(place)
    with pytest.raises(ConflictError, match='lake@1 has changed underneath'):
        read_reference(store, 'lake@1')


def test_an_iceberg_snapshot_is_read_as_it_was_and_one_made_anew_is_noticed(
    store: Store, tmp_path: Path, mlops: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    where = {'uri': f'sqlite:///{tmp_path}/lake.db', 'warehouse': f'file://{tmp_path}/lake'}
    for name, value in where.items():
        monkeypatch.setenv(f'PYICEBERG_CATALOG__LAKE__{name.upper()}', value)
    lake, place = SqlCatalog('lake', **where), 'lake/weather.hourly'
    lake.create_namespace('weather')
    hourly = lake.create_table('weather.hourly', pa.schema({'n': pa.int64()}))
    hourly.append(pa.table({'n': [1, 2]}))
    first = refer(store, 'hourly', 'iceberg', place)
    assert (first.version, first.rows, dict(first.columns)) == (1, 2, {'n': 'int64'})
    hourly.append(pa.table({'n': [3]}))
    assert read_reference(store, 'hourly@1').to_pydict() == {'n': [1, 2]}
    asked = 'data', 'refer', 'hourly', place, '--kind', 'iceberg'
    assert mlops(*asked, folder=store.settings.root).stdout == 'hourly@2: 3 rows × 1 columns\n'
    old = first.options['version']
    again = mlops(*asked, '--version', old, folder=store.settings.root)
    assert again.stdout == 'hourly@3: 2 rows × 1 columns\n'  # what came back is a version like any other
    missing = mlops(*asked, '--version', 7, folder=store.settings.root)
    assert missing.returncode == 2 and 'found no snapshot 7; expected one of' in missing.stderr
    lake.drop_table('weather.hourly')
    lake.create_table('weather.hourly', pa.schema({'n': pa.int64()})).append(pa.table({'n': [1, 2]}))
    with pytest.raises(UsageError, match=f'found no snapshot {old}.*Was it expired'):
        read_reference(store, 'hourly@1')


def test_the_error_without_a_connectors_library_names_the_extra(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, library in ('iceberg', 'pyiceberg.catalog'), ('delta', 'deltalake'):
        monkeypatch.setitem(sys.modules, library, None)  # as where it is not installed
        with pytest.raises(UsageError, match=rf"pip install 'mlops-nb\[{kind}\]'"):
            refer(store, 'rows', kind, 'lake/weather.hourly')


def catalogue(folder: Path, count: int = 4) -> list[Path]:
    "A file for each month, the later ones in other formats."
    frames = [FRAME.assign(n=FRAME['n'] + 10 * i) for i in range(count)]
    paths = [folder / f'2013-{i + 1:02}.{"parquet" if i % 2 else "csv"}' for i in range(count)]
    for path, frame in zip(paths, frames, strict=True):
        frame.to_parquet(path, index=False) if path.suffix == '.parquet' else frame.to_csv(path, index=False)
    return paths


def with_contract(store: Store) -> Path:
    root = store.settings.root
    (root / 'contracts').mkdir()
    write_contract(ROWS, root / 'contracts' / 'rows.toml')
    return root


def test_a_back_catalogue_is_one_command_and_a_version_for_each_file_in_the_order_given(
    store: Store, tmp_path: Path, mlops: Run
) -> None:
    root, files = with_contract(store), catalogue(tmp_path)[::-1]
    done = mlops('data', 'commit', 'rows', *files, '--message', 'at once', folder=root)
    told = [f'rows@{i}: {3 * i} rows with {path.stem}' for i, path in enumerate(files, 1)]
    assert done.stdout.splitlines() == [*told, 'Next: mlops-nb data versions rows'], done.stderr
    assert done.stderr == ''  # no bar where nobody looks
    kept = versions(store, 'rows')
    assert list(kept['batch']) == [path.stem for path in files] and set(kept['message']) == {'at once'}
    assert sorted(list_profiles(store)['batch']) == [path.stem for path in files[::-1]]
    for number, path in enumerate(files, 1):
        rows = pd.read_csv(path) if path.suffix == '.csv' else pd.read_parquet(path)
        alone = commit(store, 'alone', rows, batch=path.stem, contract=replace(ROWS, dataset='alone'))
        assert alone.parts[-1].digest == load(store, f'rows@{number}').info.parts[-1].digest
        assert (
            trace(store, f'dataset:rows@{number}')
            .nodes('source', up=True)[0]
            .startswith(f'source:{path.name} ')
        )
    again = mlops('data', 'commit', 'rows', *files, folder=root)
    assert again.stdout.splitlines()[:-1] == [
        f'rows@{i}: {path.stem} is there already' for i, path in enumerate(files, 1)
    ]
    assert len(versions(store, 'rows')) == len(files) and check(store) == []


def test_files_of_which_one_is_no_table_are_refused_before_the_first_is_committed(
    store: Store, tmp_path: Path, mlops: Run
) -> None:
    root, files = with_contract(store), catalogue(tmp_path)
    files[1].write_bytes(files[1].read_bytes()[:-9])
    files[2].write_text('n,word\n1,a\n2\n')
    done = mlops('data', 'commit', 'rows', *files, tmp_path / 'none.csv', folder=root)
    assert done.returncode == 2 and done.stdout == '' and done.stderr.endswith('Nothing was committed\n')
    assert all(str(path) in done.stderr for path in (*files[1:3], tmp_path / 'none.csv'))
    assert str(files[0]) not in done.stderr and versions(store).empty and held_batches(store).empty
    (tmp_path / 'again').mkdir()
    twice = mlops('data', 'commit', 'rows', files[0], tmp_path / 'again' / files[0].name, folder=root)
    assert 'several files for batch 2013-01' in twice.stderr
    named = mlops('data', 'commit', 'rows', *files, '--batch', '2013', folder=root)
    assert named.returncode == 2 and 'found --batch 2013 and 4 sources; expected one' in named.stderr
    assert versions(store).empty


def test_a_file_that_breaks_the_contract_stops_the_rest_and_the_same_command_goes_on(
    store: Store, tmp_path: Path, mlops: Run
) -> None:
    root, files = with_contract(store), catalogue(tmp_path)
    right = files[2].read_text()
    files[2].write_text('n,word\n-1,a\n')
    done = mlops('data', 'commit', 'rows', *files, folder=root)
    assert done.returncode == 1 and 'quarantine show 1' in done.stderr
    assert done.stdout.splitlines() == ['rows@1: 3 rows with 2013-01', 'rows@2: 6 rows with 2013-02']
    assert f'Committed: 2013-01, 2013-02. Not committed: {files[2]}, {files[3]}. ' in done.stderr
    files[2].write_text(right)
    again = mlops('data', 'commit', 'rows', *files, folder=root)
    assert again.stdout.splitlines()[:4] == [
        'rows@1: 2013-01 is there already',
        'rows@2: 2013-02 is there already',
        'rows@3: 9 rows with 2013-03',
        'rows@4: 12 rows with 2013-04',
    ]
    assert load(store, 'rows@4').arrow()['n'].to_pylist() == [10 * i + n for i in range(4) for n in (1, 2, 3)]


def test_files_replace_rows_by_key_one_after_the_other(store: Store, tmp_path: Path, mlops: Run) -> None:
    root, files = with_contract(store), catalogue(tmp_path, 3)
    mlops('data', 'commit', 'rows', *files, folder=root)
    late = [tmp_path / 'late-1.csv', tmp_path / 'late-2.csv']
    late[0].write_text('n,word\n1,first\n11,first\n')
    late[1].write_text('n,word\n11,second\n99,new\n')
    done = mlops('data', 'commit', 'rows', *late, '--upsert', folder=root)
    assert [line.partition(':')[0] for line in done.stdout.splitlines()] == ['rows@4', 'rows@5', 'Next']
    rows = dict(zip(*load(store, 'rows@5').arrow().to_pydict().values(), strict=True))
    assert (rows[1], rows[11], rows[99], len(rows)) == ('first', 'second', 'new', 10)


def test_on_a_terminal_a_bar_says_how_many_files_are_done(store: Store, tmp_path: Path) -> None:
    root, files = with_contract(store), catalogue(tmp_path, 2)
    ours, theirs = os.openpty()
    done = subprocess.run(
        [COMMAND, 'data', 'commit', 'rows', *files],
        cwd=root,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    told = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout.count('\n') == 3 and '░' not in done.stdout
    assert '░ 0 of 2: 2013-01.csv' in told and '░ 1 of 2: 2013-02.parquet' in told
    assert told.endswith('\r\x1b[K')  # and is gone at the end


def test_the_commands_commit_draft_a_contract_search_features_and_draw_lineage(
    store: Store, tmp_path: Path, mlops: Run
) -> None:
    root = store.settings.root
    FRAME.to_csv(tmp_path / 'july.csv', index=False)
    write_contract(ROWS, tmp_path / 'rows.toml')
    done = mlops('data', 'commit', 'rows', tmp_path / 'july.csv', '--batch', '2013-07', folder=root)
    assert done.stdout == 'rows@1: 3 rows. Next: mlops-nb data versions rows\n', done.stderr
    again = mlops('data', 'commit', 'rows', tmp_path / 'july.csv', '--batch', '2013-07', folder=root)
    assert again.stdout == done.stdout
    lineage = mlops('data', 'lineage', 'dataset:rows@1', '--from', 'source', folder=root)
    assert lineage.stdout.startswith('source:july.csv ')
    mlops('data', 'lineage', 'dataset:rows@1', '--picture', 'lineage.svg', folder=root)
    assert 'july.csv' in (root / 'lineage.svg').read_text()
    shown = mlops('data', 'contract', 'rows', '--draft', folder=root)
    assert shown.returncode == 0, shown.stderr
    assert read_contract(root / 'contracts' / 'rows.toml').names == ('n', 'word')
    cell = '#| export\n@feature\ndef words_of(rows: pd.DataFrame) -> pd.DataFrame:\n    "How many words."\n'
    notebook = {'cells': [{'cell_type': 'code', 'source': cell}]}
    (root / 'nbs').mkdir(exist_ok=True)
    (root / 'nbs' / 'features.ipynb').write_text(json.dumps(notebook))
    found = json.loads(mlops('data', 'features', 'many', '--json', folder=root).stdout)
    assert [(one['feature'], one['notebook']) for one in found] == [('words_of', 'nbs/features.ipynb')]
    assert 'No features' in mlops('data', 'features', 'weather', folder=root).stdout
