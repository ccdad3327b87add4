"""The plug is pulled at every write point of the library's calls: nothing is lost, nothing is doubled.

Each call runs in a process group of its own, is killed at the point, and runs again as a restarted step does.
Afterwards the catalogue must say what it says after a run that nobody disturbed. To test another call, add it
to `CALLS`: what has to be there before, the call, and the write points that it passes.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from databases import new_project
from processes import run

from mlops_nb.core import load_settings
from mlops_nb.models.aliases import faults
from mlops_nb.store import Store, open_store, verify
from mlops_nb.store.check import check, collect
from mlops_nb.store.crash_points import WRITE_POINTS
from mlops_nb.store.schema import Instant, file, metadata
from mlops_nb.store.store import name_file

FILE = tuple(point for point in WRITE_POINTS if point.startswith('file.'))
COMMIT = 'catalogue.before-commit', 'catalogue.after-commit'
ERASE = 'erasure.decided', 'erasure.removed'


def nothing(store: Store) -> None:
    "No need of anything."


def keep_a_file(store: Store) -> None:
    digest = store.put(b'a part of the flights')
    with store.begin() as connection:
        name_file(connection, digest, kind='part', bytes=21)


def register_a_model(store: Store) -> None:
    from sklearn.linear_model import LogisticRegression

    from mlops_nb.models import evaluate, register

    rows = np.random.default_rng(0).normal(size=(50, 2))
    metrics = {'roc_auc': 0.75}
    register(
        store, 'late', LogisticRegression().fit(rows, rows[:, 0] > 0), metrics=metrics,
        gates=evaluate(store.settings, 'late', metrics), datasets=['flights@6'], run='TrainFlow/1',
    )  # fmt: skip


def promote_it(store: Store) -> None:
    from mlops_nb.models import promote

    promote(store, 'late@1', 'champion', why='the first')


def second_person(store: Store) -> None:
    "From now on somebody else has to approve."
    path = store.settings.root / 'settings.ini'
    path.write_text(path.read_text() + 'approval = champion\n')


def a_version_and_a_second_person(store: Store) -> None:
    register_a_model(store)
    second_person(store)


def asked_for(store: Store) -> None:
    a_version_and_a_second_person(store)
    promote_it(open_store(load_settings(store.settings.root)))


def approve_it(store: Store) -> None:
    from mlops_nb.models import approve

    approve(store, 'late@1', 'champion', why='checked', settings=replace(store.settings, user='grace'))


def reject_it(store: Store) -> None:
    from mlops_nb.models import reject, requests

    if requests(store, 'late', 'champion'):
        reject(
            store, 'late@1', 'champion', why='too few rows', settings=replace(store.settings, user='grace')
        )


def two_champions(store: Store) -> None:
    from sklearn.linear_model import LogisticRegression

    from mlops_nb.models import promote, register

    for number in 1, 2:
        model = LogisticRegression().fit([[0], [1]], [0, 1])
        register(store, 'late', model, metrics={'roc_auc': 0.75}, gates=[], run=f'TrainFlow/{number}')
        promote(store, f'late@{number}', 'champion', why='better')


def go_back(store: Store) -> None:
    from mlops_nb.models import rollback

    rollback(store, 'late', 'champion', why='worse', leaving=2)


def commit_january(store: Store) -> None:
    commit_month(store, 1)


def commit_february(store: Store) -> None:
    commit_month(store, 2)


def commit_two(store: Store) -> None:
    commit_month(store, 1)
    commit_month(store, 2)


def correct_january(store: Store) -> None:
    commit_month(store, 1, delay=4)


def commit_month(store: Store, month: int, delay: float = 3, branch: str = 'main') -> None:
    import pyarrow as pa

    from mlops_nb.contracts import Column, Contract
    from mlops_nb.data import commit

    columns = Column(name='flight', type='int'), Column(name='delay', type='float')
    rows = pa.table({'flight': [month, 10 + month], 'delay': [delay, -1.5]})
    contract = Contract('flights', columns, key=('flight',))
    commit(
        store,
        'flights',
        rows,
        batch=f'2013-0{month}',
        contract=contract,
        run=f'IngestFlow/{month}',
        branch=branch,
    )


def import_january(store: Store) -> None:
    "A file with its profile, its source and who produced it, all in one transaction."
    from mlops_nb.contracts import Column, Contract
    from mlops_nb.data import import_rows

    path = store.settings.root / '2013-01.csv'
    path.write_text('flight,delay\n1,3.5\n11,-1.5\n')
    contract = Contract('flights', (Column(name='flight', type='int'), Column(name='delay', type='float')))
    import_rows(store, 'flights', path, batch='2013-01', contract=contract, run='IngestFlow/1')


def tag_it(store: Store) -> None:
    from mlops_nb.data import tag

    tag(store, 'flights@1', 'reviewed')


def some_months(store: Store) -> None:
    "Three batches; and on a branch, a fourth and another second."
    from mlops_nb.data import create_branch

    for month in 1, 2, 3:
        commit_month(store, month)
    create_branch(store, 'flights@3', 'fix')


def branch_it(store: Store) -> None:
    from mlops_nb.data import create_branch

    create_branch(store, 'flights@2', 'fix')


def commit_on_it(store: Store) -> None:
    commit_month(store, 2, delay=9, branch='fix')


def months_on_a_branch(store: Store) -> None:
    some_months(store)
    commit_on_it(store)


def merge_it(store: Store) -> None:
    from mlops_nb.data import merge

    merge(store, 'flights', 'fix')


def upsert_into_it(store: Store) -> None:
    import pyarrow as pa

    from mlops_nb.data import upsert

    upsert(store, 'flights', pa.table({'flight': [11, 12, 99], 'delay': [1.0, 1.0, 1.0]}), batch='2013-09')


def compact_it(store: Store) -> None:
    from mlops_nb.data import compact

    compact(store, 'flights')


def erase_from_it(store: Store) -> None:
    from mlops_nb.data import erase

    erase(store, 'flights', {'flight': 12})


def profiled_months(store: Store) -> None:
    from mlops_nb.data import load
    from mlops_nb.profiles import profile_table, save_profile

    months_on_a_branch(store)
    rows = load(store, 'flights@latest').arrow(batches='2013-02')
    about = {'dataset': 'flights', 'batch': '2013-02'}
    save_profile(store, profile_table(rows, about), **about)


def refuse_a_month(store: Store) -> None:
    import pyarrow as pa

    from mlops_nb.core import ContractError
    from mlops_nb.data import commit

    with pytest.raises(ContractError):
        commit(store, 'flights', pa.table({'flight': [12, 15], 'delay': ['none', '2']}), batch='2013-08')


def refused_months(store: Store) -> None:
    "Beside the months, two batches that broke their contract: one with somebody else in it, and one without."
    import pyarrow as pa

    from mlops_nb.core import ContractError
    from mlops_nb.data import commit

    commit_two(store)
    refuse_a_month(store)
    with pytest.raises(ContractError):
        commit(store, 'flights', pa.table({'flight': [12], 'delay': ['none']}), batch='2013-09')


def collect_it(store: Store) -> None:
    collect(store, grace=0)


def compacted_months(store: Store) -> None:
    months_on_a_branch(store)
    compact_it(store)


def keep_a_table(store: Store) -> None:
    import pyarrow as pa

    from mlops_nb.store import keep

    keep(store, pa.table({'n': [1, 2]}))


@dataclass(frozen=True)
class Call:
    "A call of the library that writes."

    before: Callable[[Store], None] | None  # None: not even a store
    call: Callable[[Store], None]
    points: tuple[str, ...]  # that it passes


CALLS = {
    'open': Call(None, nothing, ('store.created', 'catalogue.upgraded', *COMMIT)),
    'put and name': Call(nothing, keep_a_file, FILE + COMMIT),
    'register': Call(nothing, register_a_model, FILE + COMMIT),
    'promote': Call(register_a_model, promote_it, COMMIT),
    'ask for approval': Call(a_version_and_a_second_person, promote_it, COMMIT),
    'approve': Call(asked_for, approve_it, COMMIT),
    'reject': Call(asked_for, reject_it, COMMIT),
    'rollback': Call(two_champions, go_back, COMMIT),
    'commit a first batch': Call(nothing, commit_january, FILE + COMMIT),
    'commit a second batch': Call(commit_january, commit_february, FILE + COMMIT),
    'commit a batch again': Call(commit_january, commit_january, COMMIT),
    'correct a batch': Call(commit_january, correct_january, FILE + COMMIT),
    'import a file': Call(nothing, import_january, FILE + COMMIT),
    'tag a version': Call(commit_january, tag_it, COMMIT),
    'branch': Call(commit_two, branch_it, COMMIT),
    'commit on a branch': Call(some_months, commit_on_it, FILE + COMMIT),
    'merge': Call(months_on_a_branch, merge_it, COMMIT),
    'upsert': Call(some_months, upsert_into_it, FILE + COMMIT),
    'compact': Call(months_on_a_branch, compact_it, FILE + COMMIT),
    'collect': Call(compacted_months, collect_it, COMMIT),
    'erase': Call(profiled_months, erase_from_it, FILE + COMMIT + ERASE),
    'erase from files of many parts': Call(compacted_months, erase_from_it, FILE + COMMIT + ERASE),
    'erase from quarantine': Call(refused_months, erase_from_it, FILE + COMMIT + ERASE),
    'hold a batch': Call(commit_two, refuse_a_month, FILE + COMMIT),
    'keep an artifact': Call(nothing, keep_a_table, FILE + COMMIT),
}


def _open_and(call: Callable[[Store], None], root: Path) -> None:
    call(open_store(load_settings(root)))


def said(store: Store) -> dict[str, list[str]]:
    "What the catalogue says, without times and hashes; two files of one model differ in a few bytes."
    differ = file.c.kind.in_(('model', 'record', 'card'))
    volatile = 'hash', 'previous', 'bytes'
    rows = {}
    with store.read() as connection:
        models = '|'.join(connection.scalars(sa.select(file.c.digest).where(differ))) or '$'
        for name, table in metadata.tables.items():
            columns = [c for c in table.columns if not isinstance(c.type, Instant) and c.name not in volatile]
            found = (str(tuple(row)) for row in connection.execute(sa.select(*columns)))
            rows[name] = sorted(re.sub(models, 'MODEL', row) for row in found)
    return rows


@dataclass(frozen=True)
class Prepared:
    "A project in which a call has not run yet, and what it says once the call has run."

    folder: Path
    after: dict[str, list[str]]


@pytest.fixture(scope='module')
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    "Each made once."

    @functools.cache
    def prepare(name: str) -> Prepared:
        folder = tmp_path_factory.mktemp('prepared')
        project, quiet = folder / 'project', folder / 'quiet'
        new_project(project)
        if (before := CALLS[name].before) is not None:
            assert run(_open_and, before, project) == 0
        assert run(_open_and, CALLS[name].call, shutil.copytree(project, quiet)) == 0
        return Prepared(project, said(open_store(load_settings(quiet))))

    return prepare


@pytest.mark.parametrize(
    ('name', 'point'), [(name, point) for name, call in CALLS.items() for point in call.points]
)
def test_a_call_killed_at_a_write_point_is_finished_by_calling_again(
    name: str, point: str, prepared: Callable[[str], Prepared], tmp_path: Path
) -> None:
    root = shutil.copytree(prepared(name).folder, tmp_path / 'project')
    assert run(_open_and, CALLS[name].call, root, crash_at=point) == -9
    assert run(_open_and, CALLS[name].call, root) == 0
    store = open_store(load_settings(root))
    assert said(store) == prepared(name).after
    assert not [finding for finding in check(store) if finding.is_fault]
    assert verify(store).whole and faults(store) == []
    collect(store, grace=0)
    assert check(store) == []


def _refuse_somebody(store: Store) -> None:
    import pyarrow as pa

    from mlops_nb.contracts import Column, Contract
    from mlops_nb.core import ContractError
    from mlops_nb.data import commit

    columns = Column(name='who', type='string'), Column(name='paid', type='int', minimum=0)
    rows = pa.table({'who': ['zebedee', 'eve', 'joe'], 'paid': [-1, 2, -3]})
    with pytest.raises(ContractError):
        commit(store, 'people', rows, batch='a', contract=Contract('people', columns, key=('who',)))


def _erase_somebody(store: Store) -> None:
    from mlops_nb.data import erase

    erase(store, 'people', {'who': 'zebedee'})


def _everything(store: Store) -> bytes:
    from mlops_nb.store.artifacts import from_parquet

    files = [path.read_bytes() for path in store.settings.root.rglob('*') if path.is_file()]
    return b''.join(
        files + [str(from_parquet(one).to_pydict()).encode() for one in files if one[:4] == b'PAR1']
    )


@pytest.mark.parametrize('point', FILE + COMMIT + ERASE)
def test_nobody_erased_from_quarantine_is_in_any_byte_after_a_kill_and_again(
    point: str, tmp_path: Path
) -> None:
    from mlops_nb.data import held

    settings = new_project(tmp_path / 'project')
    assert run(_open_and, _refuse_somebody, settings.root) == 0
    assert b'zebedee' in _everything(open_store(settings))
    assert run(_open_and, _erase_somebody, settings.root, crash_at=point) == -9
    assert run(_open_and, _erase_somebody, settings.root) == 0
    store = open_store(settings)
    assert b'zebedee' not in _everything(store)
    assert held(store, 1).arrow()['who'].to_pylist() == ['eve', 'joe'] and list(held(store, 1).why().row) == [
        1
    ]
    assert not [finding for finding in check(store) if finding.is_fault] and verify(store).whole


def _die_at(call: Callable[[Store], None], root: Path, point: str, turn: int) -> None:
    "Call, and die when a point is passed for the nth time."
    from mlops_nb.store import folder as files

    passed = []

    def counted(name: str) -> None:
        passed.append(name)
        if passed.count(point) == turn:
            os.killpg(0, signal.SIGKILL)

    opened = open_store(load_settings(root))
    files.write_point = counted
    call(opened)


@pytest.mark.parametrize('point', ['file.temporary', 'file.kept'])
@pytest.mark.parametrize('turn', [2, 3, 4], ids=['the code', 'the record', 'the card'])
def test_registering_killed_at_any_of_its_files_is_finished_by_calling_again(
    point: str, turn: int, prepared: Callable[[str], Prepared], tmp_path: Path
) -> None:
    root = shutil.copytree(prepared('register').folder, tmp_path / 'project')
    assert run(_die_at, register_a_model, root, point, turn) == -9
    assert run(_open_and, register_a_model, root) == 0
    store = open_store(load_settings(root))
    assert said(store) == prepared('register').after
    assert faults(store) == [] and verify(store).whole
    collect(store, grace=0)
    assert check(store) == []


@pytest.mark.parametrize('name', CALLS)
def test_a_call_passes_no_write_point_that_it_is_not_killed_at(
    name: str, prepared: Callable[[str], Prepared], tmp_path: Path
) -> None:
    root = shutil.copytree(prepared(name).folder, tmp_path / 'project')
    others = set(WRITE_POINTS) - set(CALLS[name].points) - {'store.created'}  # which every opening passes
    assert run(_open_and, CALLS[name].call, root, crash_at=','.join(others)) == 0


def test_every_write_point_is_passed_by_some_call() -> None:
    assert {point for call in CALLS.values() for point in call.points} == set(WRITE_POINTS)
