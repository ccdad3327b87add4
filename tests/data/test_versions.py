"""Versions in a folder with SQLite, and in a bucket with PostgreSQL: branches, filters, diffs, erasing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
import sqlalchemy as sa
from committing import ROWS, commit_some, small
from databases import new_project, postgres  # noqa: F401
from hypothesis import HealthCheck, given, settings, strategies as st
from pages import assert_harmless
from places import bucket_project, place, s3  # noqa: F401
from processes import race
from small import Run

from mlops_nb.contracts import Column, Contract
from mlops_nb.core import (
    ConflictError,
    ContractError,
    CorruptError,
    NotFoundError,
    RefusedError,
    Settings,
    StoreError,
)
from mlops_nb.data import (
    branches,
    commit,
    compact,
    create_branch,
    diff,
    differing_rows,
    erase,
    find,
    held,
    held_batches,
    load,
    merge,
    read,
    release,
    upsert,
    versions,
)
from mlops_nb.profiles import load_profile, profile_table, save_profile
from mlops_nb.store import Store, entries, open_store, verify
from mlops_nb.store.check import check, collect
from mlops_nb.store.schema import erasure, file, metadata

PEOPLE = Contract(
    'people',
    (
        Column(name='who', type='string', personal=True),
        Column(name='paid', type='int'),
        Column(name='at', type='timestamp'),
    ),
    key=('who',), event_time='at',
)  # fmt: skip
NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)


def people(*names: str, paid: int = 1) -> pa.Table:
    return pa.table({'who': list(names), 'paid': [paid] * len(names), 'at': [NOON] * len(names)})


@pytest.fixture
def store(place: Settings) -> Store:  # noqa: F811
    return open_store(place)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(new_project(tmp_path / 'project'))


# --- in either place


def test_versions_come_back_as_they_were_in_either_place(store: Store) -> None:
    for number in 1, 2, 3:
        commit(store, 'rows', small(number), batch=f'2013-0{number}', contract=ROWS, source=f'{number}.csv')
    commit(store, 'rows', small(2, size=5), batch='2013-02')
    assert [load(store, f'rows@{n}').arrow()['n'].to_pylist() for n in (1, 3)] == [
        small(1)['n'].to_pylist(), [n for i in (1, 2, 3) for n in small(i)['n'].to_pylist()],
    ]  # fmt: skip
    assert (
        load(store, 'rows@latest').arrow(batches='2013-02')['n'].to_pylist() == small(2, 5)['n'].to_pylist()
    )
    assert list(versions(store, 'rows').source) == ['1.csv', '2.csv', '3.csv', '']
    assert list(versions(store, 'rows').batches) == [1, 2, 3, 3]
    assert check(store) == []


def test_the_same_rows_again_are_the_same_version_and_kept_once(store: Store) -> None:
    first = commit(store, 'rows', small(1), batch='a')
    assert commit(store, 'rows', small(1), batch='a') == first
    commit(store, 'other', small(1), batch='b')
    assert len(list(store.place.everything())) == 1


def test_writers_at_once_lose_nothing_in_either_place(place: Settings) -> None:  # noqa: F811
    won = race(commit_some, place.root, 4, processes=3)
    assert sorted(number for numbers in won for number in numbers) == list(range(1, 13))
    store = open_store(place)
    assert len(load(store, 'rows@latest').batches) == 12
    assert check(store) == [] and verify(store).broken_at is None


def test_a_branch_is_brought_back_or_refused_with_what_changed(store: Store) -> None:
    for number in 1, 2:
        commit(store, 'rows', small(number), batch=f'{number}', contract=ROWS)
    create_branch(store, 'rows@2', 'fix')
    commit(store, 'rows', small(1, size=2), batch='1', branch='fix')
    assert len(load(store, 'rows@latest')) == 6 and len(load(store, 'rows@fix')) == 5
    assert str(merge(store, 'rows', 'fix', message='two rows were wrong')) == 'rows@4'
    assert load(store, 'rows@latest').arrow().equals(load(store, 'rows@fix').arrow())
    commit(store, 'rows', small(3), batch='3', branch='fix')
    commit(store, 'rows', small(4), batch='4')
    with pytest.raises(ConflictError, match=r'(?s)added: 4.*added: 3'):
        merge(store, 'rows', 'fix')
    assert list(branches(store, 'rows').version) == [6, 5]
    assert check(store) == []


def test_a_version_is_found_by_its_time_and_none_before_the_first(store: Store) -> None:
    first, second = (commit(store, 'rows', small(number), batch=f'{number}') for number in (1, 2))
    assert find(store, f'rows@{first.created_at.isoformat()}') == first
    assert find(store, f'rows@{(second.created_at + timedelta(days=1)).isoformat()}') == second
    with pytest.raises(NotFoundError, match='expected a time from'):
        find(store, 'rows@2013-01-01')


def test_an_upsert_replaces_rows_where_they_are(store: Store) -> None:
    for number in 1, 2:
        commit(store, 'rows', small(number), batch=f'{number}', contract=ROWS)
    late = datetime(2020, 1, 1, tzinfo=UTC)
    version = upsert(store, 'rows', pa.table({'n': [2001, 7], 'at': [late, late]}), batch='more')
    assert {batch: rows['n'].to_pylist() for batch, rows in read(store, version)} == {
        '1': [1000, 1001, 1002], '2': [2000, 2001, 2002], 'more': [7],
    }  # fmt: skip
    assert load(store, 'rows@latest').arrow(where=[('at', '>=', '2019-01-01')])['n'].to_pylist() == [2001, 7]


def fetched_files(store: Store, monkeypatch: pytest.MonkeyPatch, spec: str) -> int:
    "How many files of rows are fetched to read a version."
    kind, fetched = type(store.place), list[str]()
    get = kind.get

    def counted(where: Any, digest: str) -> bytes:
        fetched.append(digest)
        return get(where, digest)

    version = load(store, spec)
    parts = {part.place for part in version.info.parts}
    with monkeypatch.context() as patch:
        patch.setattr(kind, 'get', counted)
        version.arrow()
    return sum(digest in parts for digest in fetched)


def test_compaction_changes_where_rows_lie_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        commit(store, 'rows', small(number, size=number), batch=f'{number}', contract=ROWS)
    before = [load(store, f'rows@{n}').arrow() for n in range(1, 9)]
    assert fetched_files(store, monkeypatch, 'rows@8') == 8
    assert compact(store, 'rows').files == 1
    collect(store, grace=0)
    assert sum(1 for kept in store.place.everything()) == 2  # the rows, the contract
    assert [load(store, f'rows@{n}').arrow() for n in range(1, 9)] == before
    assert fetched_files(store, monkeypatch, 'rows@8') == 1
    assert commit(store, 'rows', small(8, size=8), batch='8').version == 8
    assert check(store)[0].kind == 'unnamed'
    found = diff(store, 'rows@7', 'rows@8')
    assert (found.added, found.removed, found.changed) == (8, 0, 0)


def test_a_person_is_erased_from_every_version_and_branch_and_nothing_is_left(store: Store) -> None:
    commit(store, 'people', people('zebedee', 'eve'), batch='a', contract=PEOPLE)
    commit(store, 'people', people('joe'), batch='b')
    commit(store, 'people', people('joe', 'zebedee'), batch='b')
    create_branch(store, 'people@1', 'trial')
    commit(store, 'people', people('zebedee', paid=7), batch='c', branch='trial')
    for batch in 'ab':
        rows = load(store, 'people@latest').arrow(batches=batch)
        about = {'dataset': 'people', 'batch': batch}
        save_profile(store, profile_table(rows, about), **about)
    done = erase(store, 'people', {'who': 'zebedee'})
    assert dict(done.rows) == {'1': 1, '2': 1, '3': 2, '4': 2} and done.profiles == 2 and not done.remaining
    assert [load(store, f'people@{n}').arrow()['who'].to_pylist() for n in (1, 2, 3, 4)] == [
        ['eve'], ['eve', 'joe'], ['eve', 'joe'], ['eve'],
    ]  # fmt: skip
    assert [find(store, f'people@{n}').rows for n in (1, 2, 3, 4)] == [1, 2, 2, 1]
    assert [load_profile(store, dataset='people', batch=batch).rows for batch in 'ab'] == [1, 1]
    assert b'zebedee' not in b''.join(store.get(kept.digest) for kept in store.place.everything())
    decoded = [load(store, f'people@{n}').arrow()['who'].to_pylist() for n in (1, 2, 3, 4)]
    assert 'zebedee' not in str(decoded) and 'zebedee' not in str(entries(store))
    assert check(store) == [] and verify(store).broken_at is None
    assert erase(store, 'people', {'who': 'zebedee'}).rows == {}


# --- what may go wrong


def test_a_part_that_was_tampered_with_or_is_gone_is_named(store: Store) -> None:
    parts = [commit(store, 'rows', small(number), batch=f'b{number}').parts for number in (1, 2)]
    kept = {one.digest: one for one in store.place.everything()}
    damage(store, parts[0][0].digest)
    with pytest.raises(CorruptError, match=r'rows@1, batch b1: .* is damaged'):
        load(store, 'rows@1').arrow()
    store.place.remove(kept[parts[1][1].digest])
    with pytest.raises(StoreError, match=r'rows@2, batch b2: .* is not there'):
        load(store, 'rows@2').arrow(batches='b2')
    assert sorted(finding.kind for finding in check(store)) == ['corrupt', 'missing']
    for number in 1, 2:
        commit(store, 'rows', small(number), batch=f'b{number}')  # heals both
    assert check(store) == []


def damage(store: Store, digest: str) -> None:
    if hasattr(store.place, 'client'):
        bucket, _, prefix = store.place.url.removeprefix('s3://').partition('/')
        key = f'{prefix}/files/{digest[:2]}/{digest[2:]}'
        store.place.client.put_object(Bucket=bucket, Key=key, Body=b'something else')
    else:
        store.path(digest).chmod(0o644)
        store.path(digest).write_bytes(b'something else')


class Between:
    "A listener between a client and a server that breaks a connection off when it is told to."

    def __init__(self, port: int) -> None:
        self.port, self.passed = port, 0
        self.broken: Callable[[bytes], bool] = lambda data: False
        self.listener = socket.create_server(('127.0.0.1', 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(('127.0.0.1', self.port))
            for source, target in (client, server), (server, client):
                threading.Thread(target=self.pass_on, args=(source, target), daemon=True).start()

    def pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.broken(data):
                    self.passed += 1
                    break
                target.sendall(data)
        for end in source, target:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def broken_off(tmp_path: Path, s3: str) -> tuple[Store, Between]:  # noqa: F811
    between = Between(int(s3.rpartition(':')[2]))
    settings = bucket_project(tmp_path, s3, f'sqlite:///{tmp_path}/catalogue.db')
    endpoint = f'http://127.0.0.1:{between.listener.getsockname()[1]}'
    return open_store(replace(settings, store_endpoint=endpoint)), between


def test_a_connection_that_breaks_off_in_a_commit_is_said_and_leaves_a_usable_store(
    broken_off: tuple[Store, Between],
) -> None:
    store, between = broken_off
    commit(store, 'rows', small(1), batch='a')
    between.broken = lambda data: data.startswith(b'PUT')
    with pytest.raises(StoreError, match=r'cannot be reached.*Check .store. url and endpoint'):
        commit(store, 'rows', small(2), batch='b')
    assert between.passed > 1  # it was tried again
    between.broken = lambda data: False
    assert check(store) == [] and len(versions(store)) == 1
    assert commit(store, 'rows', small(2), batch='b').version == 2


def test_a_connection_that_breaks_off_once_is_not_noticed(broken_off: tuple[Store, Between]) -> None:
    store, between = broken_off
    between.broken = lambda data: data.startswith(b'PUT') and not between.passed
    commit(store, 'rows', small(1), batch='a')
    between.passed = 0
    between.broken = lambda data: data.startswith(b'HTTP/1.1 200') and b'PAR1' in data and not between.passed
    assert len(load(store, 'rows@1').arrow()) == 3


def test_a_bucket_that_is_not_there_is_said_with_what_to_change(tmp_path: Path, s3: str) -> None:  # noqa: F811
    settings = bucket_project(tmp_path, s3, f'sqlite:///{tmp_path}/catalogue.db')
    store = open_store(replace(settings, store_url='s3://no-such-bucket'))
    with pytest.raises(StoreError, match='s3://no-such-bucket'):
        commit(store, 'rows', small(1), batch='a')


def test_a_clock_that_goes_back_makes_no_version_older_than_the_one_before(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = commit(local, 'rows', small(1), batch='a')
    monkeypatch.setattr('mlops_nb.data.version.now', lambda: first.created_at - timedelta(hours=5))
    second = commit(local, 'rows', small(2), batch='b')
    assert second.created_at == first.created_at
    assert find(local, f'rows@{first.created_at.isoformat()}') == second


def test_two_people_who_commit_on_what_they_saw_are_not_both_taken(local: Store) -> None:
    commit(local, 'rows', small(1), batch='a')
    commit(local, 'rows', small(2), batch='b', expected='rows@1')
    with pytest.raises(ConflictError, match='found rows@2 as the newest of main; expected rows@1'):
        commit(local, 'rows', small(3), batch='b', expected='rows@1')


HOSTILE = [
    'a"b',
    "it's",
    'c0',
    'there',
    'change',
    'file_row_number',
    '; DROP TABLE hits',
    '<script>',
    'ä ✈',
    'n.k0',
]


def test_hostile_column_names_are_names(local: Store) -> None:
    rows = pa.table({name: [1, 2, 3] for name in HOSTILE})
    commit(local, 'rows', rows, batch='a')
    commit(local, 'rows', rows.set_column(0, HOSTILE[0], pa.array([1, 2, 9])), batch='a')
    found = diff(local, 'rows@1', 'rows@2', key=["it's", 'there'])
    assert dict(found.columns) == {HOSTILE[0]: 1}
    assert '<script>' not in found._repr_html_()
    assert_harmless(found.html)
    assert found.html.count('@media (prefers-color-scheme: dark)') == 2  # of the page, and of what is on it
    for name in HOSTILE:
        assert len(load(local, 'rows@1').arrow(where=[(name, '==', 2)])) == 1
    assert erase(local, 'rows', {'; DROP TABLE hits': 2}).rows == {'1': 1, '2': 1}


def test_a_schema_that_changes_is_said_with_the_column_and_widened_only_when_asked(local: Store) -> None:
    commit(local, 'rows', pa.table({'n': pa.array([1], 'int32')}), batch='a')
    wide = pa.table({'n': pa.array([2**40], 'int64'), 'more': ['x']})
    with pytest.raises(
        ContractError, match='batch b does not fit rows@1: n is int64, and was int32; more is new'
    ):
        commit(local, 'rows', wide, batch='b')
    commit(local, 'rows', wide, batch='b', widen=True)
    assert load(local, 'rows@2').arrow().to_pydict() == {'n': [1, 2**40], 'more': [None, 'x']}
    with pytest.raises(ContractError, match='n is string, and was int64'):
        commit(local, 'rows', pa.table({'n': ['1'], 'more': ['x']}), batch='c', widen=True)


def test_a_filtered_read_fetches_only_the_parts_it_must(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 7):
        commit(local, 'rows', small(number), batch=f'{number}', contract=ROWS)
    dataset, fetched = load(local, 'rows@latest'), []
    get = type(local.place).get
    monkeypatch.setattr(
        type(local.place), 'get', lambda self, digest: fetched.append(digest) or get(self, digest)
    )
    parts = {part.batch: part.digest for part in dataset.info.parts}
    for where, batches in (
        ([('n', '==', 3001)], '3'), ([('n', '>', 5000), ('n', '<', 5002)], '5'),
        ([('n', 'in', [1000, 6000])], '16'),
        ([('at', '>=', '2013-04-01'), ('at', '<', '2013-06-01')], '45'), ([('n', '<', 0)], ''),
    ):  # fmt: skip
        fetched.clear()
        dataset.arrow(['n'], where=where)
        assert [digest for digest in fetched if digest in parts.values()] == [
            parts[batch] for batch in batches
        ]


def test_personal_values_leave_no_statistics(local: Store) -> None:
    commit(local, 'people', people('zebedee'), batch='a', contract=PEOPLE)
    assert b'zebedee' not in Path(local.settings.store_url, 'catalogue.db-wal').read_bytes()


# --- diffs


def test_a_diff_reads_only_the_parts_that_differ(local: Store) -> None:
    for number in range(1, 5):
        commit(local, 'rows', small(number), batch=f'{number}', contract=ROWS)
    commit(local, 'rows', small(2, size=5), batch='2')
    for part in load(local, 'rows@1').info.parts:
        local.path(part.digest).unlink()  # shared: nobody needs it
    found = diff(local, 'rows@4', 'rows@5')
    assert (found.added, found.removed, found.changed) == (2, 0, 0)
    assert [len(side) for side in found.parts()] == [1, 1]


def test_a_row_that_moved_to_another_batch_unchanged_is_no_difference(local: Store) -> None:
    rows = pa.table({'n': [1, 2, 3], 'x': [1.5, float('nan'), None]})
    commit(local, 'rows', rows[:2], batch='a')
    commit(local, 'rows', rows[2:], batch='b')
    commit(local, 'rows', rows[:1], batch='a')
    commit(local, 'rows', rows[1:], batch='b')
    found = diff(local, 'rows@2', 'rows@4', key=['n'])
    assert (found.added, found.removed, found.changed) == (0, 0, 0)


VALUES = st.one_of(st.none(), st.integers(0, 3).map(float), st.just(float('nan')))
ROW = st.tuples(VALUES, st.sampled_from(['x', 'y', None]))


def put(store: Store, dataset: str, rows: dict[int, tuple]) -> int:
    "Commit rows as a batch of the even and one of the odd numbers; the newest version."
    for batch, rest in ('even', 0), ('odd', 1):
        mine = [n for n in rows if n % 2 == rest]
        columns = {'n': pa.array(mine, pa.int64()), 'v': pa.array([rows[n][0] for n in mine], pa.float64())}
        table = pa.table({**columns, 'w': pa.array([rows[n][1] for n in mine], pa.string())})
        commit(store, dataset, table, batch=batch)
    return load(store, f'{dataset}@latest').version


@given(
    st.lists(ROW, min_size=2, max_size=12),
    st.dictionaries(st.integers(0, 13), ROW, max_size=4),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_diff_is_what_two_dictionaries_say(
    local: Store, rows: list[tuple], corrected: dict[int, tuple], turned: bool
) -> None:
    dataset, was = f'd{uuid4().hex}', dict(enumerate(rows))
    now = {**was, **corrected}
    before, after = (
        put(local, dataset, was),
        put(local, dataset, dict(reversed(now.items())) if turned else now),
    )
    found = diff(local, f'{dataset}@{before}', f'{dataset}@{after}', key=['n'])
    back = diff(local, f'{dataset}@{after}', f'{dataset}@{before}', key=['n'])
    added = len(now) - len(was)
    changed = sum(repr(was[n]) != repr(now[n]) for n in was)  # in which nan is like nan
    assert (found.added, found.removed, found.changed) == (added, 0, changed)
    assert (back.added, back.removed, back.changed) == (0, added, changed)


def test_a_diff_shows_nothing_of_a_person(local: Store) -> None:
    commit(local, 'people', people('zebedee', 'eve'), batch='a', contract=PEOPLE)
    commit(local, 'people', people('zebedee', paid=7), batch='a')
    found = diff(local, 'people@1', 'people@2')
    assert (found.removed, found.changed) == (1, 1)
    assert 'zebedee' not in repr(found) + found._repr_html_() + str(found.examples)
    assert sum(len(rows) for rows in differing_rows(local, 'people@1', 'people@2')) == 2


# --- erasing, further


def test_no_page_of_the_catalogue_keeps_what_was_erased(local: Store) -> None:
    keyed = Contract(
        'people', tuple(replace(column, personal=False) for column in PEOPLE.columns), key=('who',)
    )
    for i in range(5):
        commit(local, 'people', people('zebedee', 'eve', paid=i), batch=f'{i}', contract=keyed)
    url = Path(local.settings.store_url)
    whole = b''.join(path.read_bytes() for path in url.glob('catalogue.db*'))
    assert b'zebedee' in whole  # as the greatest value of a column
    erase(local, 'people', {'who': 'zebedee'})
    assert b'zebedee' not in b''.join(path.read_bytes() for path in url.rglob('*') if path.is_file())


def test_what_may_still_know_somebody_is_listed(local: Store) -> None:
    from mlops_nb.store.lineage import link

    commit(
        local,
        'people',
        people('zebedee'),
        batch='a',
        contract=PEOPLE,
        message='zebedee asked',
        run='IngestFlow/1',
    )
    load(local, 'people@1', run='TrainFlow/2')
    with local.begin() as connection:
        link(connection, 'run:TrainFlow/2', 'model:late@1', 'produced')
    commit(local, 'copy', people('zebedee'), batch='a')
    done = erase(local, 'people', {'who': 'zebedee'})
    told = ' '.join(done.remaining)
    for name in 'TrainFlow/2', 'late@1', 'dataset_version.message', 'copy':
        assert name in told


def test_a_file_that_was_decided_to_go_is_a_fault_until_it_is_gone(local: Store) -> None:
    commit(local, 'people', people('zebedee'), batch='a', contract=PEOPLE)
    digest = local.put(b'zebedee')
    with local.begin() as connection:
        about = {'dataset': 'people', 'created_at': NOON, 'created_by': 'ada'}
        connection.execute(erasure.insert().values(**about, summary={'rows': {'1': 1}}, pending=[digest]))
    assert 'erasure' in [finding.kind for finding in check(local) if finding.is_fault]
    erase(local, 'people', {'who': 'zebedee'})
    assert check(local) == []


def test_who_has_not_the_role_erases_nothing(local: Store) -> None:
    commit(local, 'people', people('eve'), batch='a', contract=PEOPLE)
    other = replace(local, settings=replace(local.settings, roles={'erase': ('eve',)}))
    with pytest.raises(RefusedError, match='ada may not erase'):
        erase(other, 'people', {'who': 'eve'})


def test_erasing_while_others_commit_misses_nobody(tmp_path: Path) -> None:
    settings = new_project(tmp_path / 'project')
    store = open_store(settings)
    commit(store, 'rows', small(1), batch='first', contract=ROWS)
    race(_commit_or_erase, settings.root, processes=3)
    erase(store, 'rows', {'n': 1000})
    for number in range(1, find(store, 'rows@latest').version + 1):
        assert 1000 not in load(store, f'rows@{number}').arrow()['n'].to_pylist()
    assert not [finding for finding in check(store) if finding.is_fault]


def _commit_or_erase(number: int, root: Path) -> None:
    from mlops_nb.core import load_settings

    store = open_store(load_settings(root))
    for i in range(4):
        if number:
            commit(store, 'rows', small(1, size=i + 2), batch=f'{number}-{i}', contract=ROWS)
        else:
            erase(store, 'rows', {'n': 1000})


# --- erasing from quarantine


def refused(store: Store, rows: pa.Table, batch: str = 'bad', **about: object) -> None:
    with pytest.raises(ContractError, match='kept in quarantine'):
        commit(store, 'people', rows, batch=batch, **about)  # type: ignore[arg-type]


PAYING = replace(
    PEOPLE,
    columns=(
        Column(name='who', type='string'),
        Column(name='paid', type='int', minimum=0),
        Column(name='at', type='timestamp'),
        Column(name='town', type='string', missing=True, allowed=('Ulm',)),
    ),
)


def paying(*names: str, paid: int = -1, towns: tuple[str, ...] = ()) -> pa.Table:
    return people(*names, paid=paid).append_column('town', [list(towns or ['Ulm'] * len(names))])


def everything(store: Store) -> bytes:
    "Every byte of the store and, where it is a file, of the catalogue; tables also as they are read."
    from mlops_nb.store.artifacts import from_parquet

    files = [store.get(kept.digest) for kept in store.place.everything()]
    tables = [str(from_parquet(one).to_pydict()).encode() for one in files if one[:4] == b'PAR1']
    with store.read() as connection:
        rows = [str(connection.execute(sa.select(table)).all()).encode() for table in metadata.sorted_tables]
    folder = store.settings.root
    return b''.join(
        [*files, *tables, *rows, *(path.read_bytes() for path in folder.rglob('*') if path.is_file())]
    )


def test_a_person_is_erased_from_quarantine_with_reasons_and_message(store: Store) -> None:
    commit(store, 'people', paying('zebedee', 'eve', paid=1), batch='a', contract=PAYING)
    towns = 'Zebtown', 'Ulm', 'Rome'
    refused(store, paying('zebedee', 'eve', 'joe', towns=towns))
    refused(store, paying('zebedee', 'zebedee'), batch='worse')
    refused(store, paying('eve'), batch='other')
    untouched = held(store, 3)
    assert b'zebedee' in everything(store) and b'Zebtown' in everything(store)
    done = erase(store, 'people', {'who': 'zebedee'})
    assert (dict(done.rows), dict(done.held), done.remaining) == ({'1': 1}, {'1': 1, '2': 2}, ())
    assert b'zebedee' not in everything(store) and b'Zebtown' not in everything(store)
    entry, empty = held(store, 1), held(store, 2)
    assert entry.rows == 2 and entry.arrow()['who'].to_pylist() == ['eve', 'joe'] and entry.status == 'held'
    assert set(entry.why()['row']) == {0, 1} and 'Rome' in entry.error
    assert list(entry.why().query("column == 'town'")['row']) == [1]
    assert (empty.rows, empty.status, empty.error) == (0, 'erased', 'all its rows were erased')
    assert held(store, 3) == untouched
    assert list(held_batches(store).number) == [1, 3]
    with pytest.raises(RefusedError, match='all were erased'):
        release(store, 2, why='again')
    assert dict(entries(store)[-1].details)['quarantine'] == {'1': 1, '2': 2}
    assert check(store) == [] and verify(store).broken_at is None
    assert erase(store, 'people', {'who': 'zebedee'}).held == {}
    assert release(store, 1, paying('eve', 'joe', paid=1), why='paid is a sign off').rows == 3


def test_a_person_is_erased_where_they_are_in_quarantine_only(store: Store, mlops: Run) -> None:
    refused(store, paying('zebedee', 'eve'), contract=PAYING, run='IngestFlow/4')
    done = erase(store, 'people', {'who': 'zebedee'})
    assert done.held == {'1': 1} and 'IngestFlow/4' in str(done.remaining)
    assert b'zebedee' not in everything(store) and check(store) == []
    mlops('data', 'quarantine', 'repair', 1, folder=store.settings.root)
    again = mlops('data', 'erase', 'people', '--key', 'who=zebedee', folder=store.settings.root)
    assert again.returncode == 1
    assert 'IngestFlow/4' in again.stdout and 'nbs/mend-people-bad-1.ipynb' in again.stdout


def test_rows_that_came_in_another_type_or_as_categories_are_found(local: Store) -> None:
    numbers = Contract('people', (Column(name='n', type='int'), Column(name='who', type='string')))
    commit(local, 'people', pa.table({'n': [7], 'who': ['eve']}), batch='a', contract=numbers)
    words = pa.array(['zebedee', 'eve', 'joe']).dictionary_encode()
    refused(local, pa.table({'n': [' 7', '8', 'nine'], 'who': words}))
    assert erase(local, 'people', {'n': 7}).held == {'1': 1}
    assert b'zebedee' not in everything(local)
    refused(local, pa.table({'n': [1, 2], 'Name': ['zebedee', 'joe']}), batch='renamed')
    done = erase(local, 'people', {'who': 'zebedee'})
    assert not done.held and "quarantine 2, which lacks 'who'" in str(done.remaining)
    assert erase(local, 'people', {'who': 'ann'}).remaining == ()
    assert erase(local, 'people', {'Name': 'zebedee'}).held == {'2': 1}
    assert erase(local, 'people', {'who': 'zebedee'}).remaining == ()


def test_a_file_of_a_held_batch_is_kept_while_a_version_or_an_artifact_has_the_same_rows(
    local: Store,
) -> None:
    from mlops_nb.store import fetch, keep

    rows = paying('zebedee', 'eve')
    commit(local, 'copy', rows, batch='a')
    refused(local, rows, contract=PAYING)
    reference = keep(local, rows)
    compact(local, 'copy')
    told = str(erase(local, 'people', {'who': 'zebedee'}).remaining)
    assert 'the dataset copy' in told and 'an artifact of a run' in told
    assert load(local, 'copy@1').arrow().equals(rows) and fetch(local, reference).equals(rows)
    refused(local, rows, batch='again', contract=PAYING)
    assert 'quarantine 2, of another dataset' in str(erase(local, 'copy', {'who': 'zebedee'}).remaining)
    assert len(held(local, 2).arrow()) == 2 and check(local) == []


def test_a_batch_refused_on_a_branch_is_released_on_it(store: Store) -> None:
    commit(store, 'people', paying('eve', paid=1), batch='a', contract=PAYING)
    create_branch(store, 'people@1', 'trial')
    refused(store, paying('joe'), branch='trial')
    refused(store, paying('joe'))
    assert held(store, 1).branch == 'trial' and 'for branch trial' in repr(held(store, 1))
    version = release(store, 1, paying('joe', paid=1), why='a sign')
    assert version.branch == 'trial' and held(store, 2).branch == 'main'
    assert load(store, 'people@main').arrow()['who'].to_pylist() == ['eve']
    assert load(store, 'people@trial').arrow()['who'].to_pylist() == ['eve', 'joe']


# --- the command


def test_the_command_erases_and_says_what_may_still_know_them(tmp_path: Path, mlops: Run) -> None:
    store = open_store(new_project(tmp_path))
    commit(store, 'people', people('zebedee', 'eve'), batch='a', contract=PEOPLE, run='IngestFlow/1')
    done = mlops('data', 'erase', 'people', '--key', 'who=zebedee', folder=tmp_path)
    assert done.returncode == 1 and 'IngestFlow/1' in done.stdout and 'zebedee' not in done.stdout
    assert load(store, 'people@1').arrow()['who'].to_pylist() == ['eve']
    assert mlops('data', 'erase', 'people', '--key', 'who', folder=tmp_path).returncode == 2


def test_files_of_parts_are_named_once_and_never_lost_to_an_artifact(local: Store) -> None:
    from mlops_nb.store import fetch, keep

    for number in 1, 2:
        commit(local, 'rows', small(number), batch=f'{number}')
    reference = keep(local, load(local, 'rows@1').arrow())
    compact(local, 'rows')
    collect(local, grace=0)
    assert len(fetch(local, reference)) == 3
    with local.read() as connection:
        assert (
            connection.scalar(sa.select(file.c.kind).where(file.c.digest == reference.digest)) == 'artifact'
        )


def test_a_url_of_a_bucket_needs_a_catalogue_elsewhere(tmp_path: Path) -> None:
    from mlops_nb.core import SettingsError, load_settings

    (tmp_path / 'settings.ini').write_text('[store]\nurl = s3://bucket\n')
    with pytest.raises(SettingsError, match='catalog'):
        load_settings(tmp_path)


def test_what_is_erased_while_it_is_put_together_does_not_come_back(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        commit(local, 'people', people('zebedee', f'eve{i}'), batch=f'{i}', contract=PEOPLE)
    put_file = type(local.place).put_file

    def erased_meanwhile(files: object, path: Path) -> str:
        digest = put_file(files, path)
        monkeypatch.setattr(type(local.place), 'put_file', put_file)
        erase(local, 'people', {'who': 'zebedee'})
        return digest

    monkeypatch.setattr(type(local.place), 'put_file', erased_meanwhile)
    assert compact(local, 'people').freed == 0
    url = Path(local.settings.store_url)
    assert b'zebedee' not in b''.join(path.read_bytes() for path in url.rglob('*') if path.is_file())
    assert compact(local, 'people').parts == 3


def test_an_erasure_that_somebody_holds_up_is_finished_by_doing_it_again(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(local, 'people', people('zebedee', 'eve'), batch='a', contract=PEOPLE)
    other = open_store(local.settings)
    monkeypatch.setattr('mlops_nb.store.store.WAIT', 1)  # instead of 30 seconds
    eraser = open_store(local.settings)
    with other.read() as reader:
        reader.execute(sa.select(file)).all()  # a reader that stays at the state of before
        with pytest.raises(StoreError, match=r'in use.*Run the command again'):
            erase(eraser, 'people', {'who': 'zebedee'})
    assert [finding.kind for finding in check(local) if finding.is_fault] == ['erasure']
    assert erase(local, 'people', {'who': 'zebedee'}).rows == {}
    assert check(local) == []
