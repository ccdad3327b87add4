"""The registry: models that come back whole or not at all, and aliases that people fight over."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from databases import new_project, postgres, settings  # noqa: F401
from processes import race
from sklearn.linear_model import LogisticRegression

from mlops_nb.audit import entries, verify
from mlops_nb.core import (
    ConflictError,
    CorruptError,
    MlopsError,
    NotFoundError,
    RefusedError,
    Settings,
    StoreError,
    UsageError,
    load_settings,
)
from mlops_nb.gates import evaluate
from mlops_nb.registry import (
    ModelVersion,
    failed_gates,
    faults,
    load_version,
    promote,
    register,
    rollback,
    versions,
)
from mlops_nb.store import Store, check, open_store


def train(store: Store, *, roc_auc: float = 0.75, run: str = '') -> ModelVersion:
    "A small model with this ROC AUC."
    metrics = {'roc_auc': roc_auc}
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    return register(
        store, 'late', model, metrics=metrics, gates=evaluate(store.settings, 'late', metrics), run=run
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(new_project(tmp_path))


# --- what is kept


def test_a_model_comes_back_as_it_was_on_either_database(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    made = train(store, roc_auc=0.1 + 0.6, run='TrainFlow/1')
    assert load_version(store, 'late@1') == made == load_version(store, 'late@latest')
    assert made.estimator().predict([[0.0], [1.0]]).tolist() == [0, 1]
    promote(store, 'late@1', 'champion', why='the first')
    assert versions(store, 'late')['aliases'].tolist() == ['champion']
    assert versions(store, 'late')['metrics.roc_auc'].tolist() == [0.1 + 0.6]


@pytest.mark.parametrize('damage', [lambda whole: whole[:-50], lambda whole: b''], ids=['cut', 'empty'])
def test_a_cut_model_file_is_refused(store: Store, damage: object) -> None:
    version = train(store)
    path = store.path(version.digest)
    path.chmod(0o644)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(CorruptError, match='is damaged'):
        version.estimator()
    assert [finding.kind for finding in check(store)] == ['corrupt']


def test_a_model_file_with_any_one_byte_changed_is_refused(store: Store) -> None:
    version = train(store)
    path = store.path(version.digest)
    path.chmod(0o644)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptError):
            version.estimator()
    path.write_bytes(whole)
    assert version.estimator()


def test_a_model_file_that_is_gone_is_said(store: Store) -> None:
    version = train(store)
    store.path(version.digest).unlink()
    with pytest.raises(StoreError, match='is not there'):
        version.estimator()


def test_a_metric_that_is_no_number_registers_nothing(store: Store) -> None:
    with pytest.raises(UsageError, match='roc_auc is nan'):
        train(store, roc_auc=float('nan'))
    assert len(versions(store)) == 0
    assert len(entries(store)) == 0


def test_looking_at_versions_imports_no_scikit_learn(tmp_path: Path) -> None:
    code = (
        'import sys; from pathlib import Path; from mlops_nb.core import load_settings; '
        'from mlops_nb.store import open_store; from mlops_nb.registry import versions, promote; '
        'versions(open_store(load_settings(Path(sys.argv[1])))); '
        'sys.exit(str({"sklearn", "skops", "matplotlib"} & set(sys.modules)))'
    )
    new_project(tmp_path)
    done = subprocess.run([sys.executable, '-c', code, tmp_path], capture_output=True, text=True)
    assert done.stderr == 'set()\n'


# --- who may move an alias, and to what


def test_a_version_that_failed_a_gate_is_not_promoted_and_nothing_is_written(store: Store) -> None:
    train(store, roc_auc=0.69)
    before = entries(store)
    with pytest.raises(RefusedError, match=r'good \(roc_auc >= 0.7\): roc_auc is 0.69'):
        promote(store, 'late@1', 'champion', why='hope')
    with pytest.raises(NotFoundError):
        load_version(store, 'late@champion')
    assert entries(store) == before


def test_a_version_whose_metric_was_not_measured_is_not_promoted(store: Store) -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    register(store, 'late', model, metrics={'accuracy': 0.9}, gates=[])
    with pytest.raises(RefusedError, match='roc_auc was not measured; expected one of accuracy'):
        promote(store, 'late@1', 'champion', why='hope')


def test_a_gate_made_stricter_holds_for_versions_registered_before(store: Store) -> None:
    version = train(store, roc_auc=0.75)
    assert failed_gates(store.settings, version) == ()
    stricter = replace(store.settings, gates={'good': 'roc_auc >= 0.8'})
    with pytest.raises(RefusedError, match=r'good \(roc_auc >= 0.8\)'):
        promote(store, 'late@1', 'champion', why='hope', settings=stricter)


def test_a_person_without_the_role_moves_nothing(store: Store) -> None:
    train(store)
    rules = replace(store.settings, user='eve', roles={'promote': ('ada',), 'review': ('*',)})
    for move in (
        lambda: promote(store, 'late@1', 'champion', why='mine', settings=rules),
        lambda: rollback(store, 'late', 'champion', why='mine', settings=rules),
    ):
        with pytest.raises(RefusedError, match='eve may not promote'):
            move()


def test_each_move_is_in_the_audit_chain_with_who_why_and_under_which_rules(store: Store) -> None:
    train(store)
    train(store)
    promote(store, 'late@1', 'champion', why='the first')
    promote(store, 'late@2', 'champion', why='better', settings=replace(store.settings, user='grace'))
    last = entries(store, 'model:late@champion')[-1]
    rules = store.settings.rules_hash
    assert (last.who, last.action) == ('grace', 'promote')
    assert last.details == {'from': 1, 'to': 2, 'why': 'better', 'rules_hash': rules, 'revision': 2}


def test_an_alias_that_was_moved_by_nobody_can_not_go_back(store: Store) -> None:
    for alias in 'champion', 'challenger':
        with pytest.raises(NotFoundError, match='does not exist'):
            rollback(store, 'late', alias, why='no')
    train(store)
    promote(store, 'late@1', 'champion', why='the first')
    with pytest.raises(NotFoundError, match='has pointed at 1 only'):
        rollback(store, 'late', 'champion', why='no')


# --- races


def _register(number: int, root: Path, times: int) -> list[int]:
    store = open_store(load_settings(root))
    return [train(store, run=f'TrainFlow/{number}-{turn}').version for turn in range(times)]


def _registrations_add_up(settings: Settings, processes: int, times: int) -> None:  # noqa: F811
    store = open_store(settings)
    made = race(_register, settings.root, times, processes=processes)
    assert sorted(version for mine in made for version in mine) == list(range(1, processes * times + 1))
    assert len(versions(store, 'late', limit=None)) == processes * times
    assert check(store) == []
    chain = verify(store)
    assert (chain.rows, chain.whole) == (processes * times + 1, True)  # and the settings, once
    assert faults(store) == []


def test_processes_that_register_at_once_get_different_versions(settings: Settings) -> None:  # noqa: F811
    _registrations_add_up(settings, processes=4, times=5)


@pytest.mark.slow
def test_many_processes_that_register_at_once_get_different_versions(settings: Settings) -> None:  # noqa: F811
    _registrations_add_up(settings, processes=8, times=40)


def _register_the_same(number: int, root: Path) -> int:
    return train(open_store(load_settings(root)), run='TrainFlow/1').version


def test_processes_that_register_for_one_run_make_one_version(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    assert race(_register_the_same, settings.root, processes=4) == [1] * 4
    assert len(versions(store, 'late')) == len(entries(store, 'model:late@1')) == 1


def _promote(number: int, root: Path, times: int) -> list[tuple[int | None, int, int]]:
    "Move the champion to and fro; each move as from, to and revision."
    store, moves = open_store(load_settings(root)), []
    while len(moves) < times:
        try:
            target = 1 + (len(moves) + number) % 2
            moved = promote(store, f'late@{target}', 'champion', why=f'process {number}')
        except ConflictError:
            continue
        moves.append((moved.previous, moved.version, moved.revision))
    return moves


def test_processes_that_promote_at_once_leave_one_unbroken_path(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    train(store)
    train(store)
    raced = race(_promote, settings.root, 10, processes=4)
    won = [
        move for moves in raced for move in moves if move[0] != move[1]
    ]  # without those that changed nothing
    assert sorted(revision for _, _, revision in won) == list(range(1, len(won) + 1))
    path = [(entry.details['from'], entry.details['to']) for entry in entries(store, 'model:late@champion')]
    assert path == [(before, after) for before, after, _ in sorted(won, key=lambda move: move[2])]
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(path))
    assert load_version(store, 'late@champion').version == path[-1][1]


def test_what_is_refused_is_refused_with_an_error_of_the_tree(store: Store) -> None:
    for spec in 'late', 'late@', 'late@0', 'late@-1', '../late@1', 'late@1@2', '', 'late@9', 'late@champion':
        with pytest.raises(MlopsError, match=r'expected|none yet'):
            load_version(store, spec)
