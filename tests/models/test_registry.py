"""The registry: models that come back whole or not at all, and aliases that people fight over."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from databases import new_project, postgres, settings  # noqa: F401
from frames import assert_same, frames
from hypothesis import given, strategies as st
from processes import race
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from mlops_nb.core import (
    ConflictError,
    ContractError,
    CorruptError,
    MlopsError,
    NotFoundError,
    RefusedError,
    Settings,
    StoreError,
    UsageError,
    load_settings,
)
from mlops_nb.core.project_code import OwnTypes
from mlops_nb.models import (
    ModelVersion,
    approve,
    evaluate,
    load_version,
    promote,
    register,
    reject,
    requests,
    rollback,
    versions,
)
from mlops_nb.models.aliases import Move, failed_gates, faults
from mlops_nb.models.signature import behaviour, fingerprint, shuffled, signature
from mlops_nb.store import Store, entries, open_store, verify
from mlops_nb.store.artifacts import dump_model, frame_file, load_model
from mlops_nb.store.check import check


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
        'from mlops_nb.store import open_store; from mlops_nb.models import versions, promote; '
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


# --- a second person


def as_(store: Store, user: str, **rules: object) -> Settings:
    return replace(store.settings, user=user, **rules)


def needing_approval(store: Store) -> Store:
    path = store.settings.root / 'settings.ini'
    path.write_text(path.read_text() + 'approval = champion\n')
    return open_store(load_settings(store.settings.root))


def test_an_alias_that_needs_a_second_person_moves_when_that_person_approves(settings: Settings) -> None:  # noqa: F811
    store = needing_approval(open_store(settings))
    train(store)
    asked = promote(store, 'late@1', 'champion', why='better on weekends', settings=as_(store, 'grace'))
    assert requests(store, 'late', 'champion') == [asked]
    with pytest.raises(NotFoundError):
        load_version(store, 'late@champion')
    move = approve(store, 'late@1', 'champion', why='checked', settings=as_(store, 'edith'))
    assert move == Move('late', 'champion', 1, None, 1) and requests(store, 'late', 'champion') == []
    last = entries(store, 'model:late@champion')[-1]
    assert (last.who, last.action, last.details['asked_by']) == ('edith', 'approve', 'grace')
    assert (last.details['why'], last.details['asked_why']) == ('checked', 'better on weekends')
    assert faults(store) == [] and verify(store).whole


@pytest.mark.parametrize(
    ('user', 'refused'),
    [('ada', 'ada registered it'), ('grace', 'grace asked for it'), ('eve', 'eve may not approve')],
)
def test_who_asked_who_registered_and_who_may_not_do_not_approve(
    store: Store, user: str, refused: str
) -> None:
    store = needing_approval(store)
    roles = {**store.settings.roles, 'approve': ('ada', 'grace', 'edith')}
    train(store)
    promote(store, 'late@1', 'champion', why='the first', settings=as_(store, 'grace'))
    before = entries(store)
    with pytest.raises(RefusedError, match=refused):
        approve(store, 'late@1', 'champion', why='fine', settings=as_(store, user, roles=roles))
    assert entries(store) == before and len(requests(store, 'late', 'champion')) == 1


def test_a_gate_made_stricter_holds_for_what_waits(store: Store) -> None:
    store = needing_approval(store)
    train(store, roc_auc=0.75)
    promote(store, 'late@1', 'champion', why='the first')
    stricter = as_(store, 'grace', gates={'good': 'roc_auc >= 0.8'})
    with pytest.raises(RefusedError, match=r'roc_auc >= 0.8'):
        approve(store, 'late@1', 'champion', why='fine', settings=stricter)


def test_a_request_lapses_when_the_alias_moves(store: Store) -> None:
    store = needing_approval(store)
    for _ in range(3):
        train(store)
    for number in 1, 2:
        promote(store, f'late@{number}', 'champion', why='good')
    approve(store, 'late@2', 'champion', why='better', settings=as_(store, 'grace'))
    with pytest.raises(NotFoundError, match='has moved since'):
        approve(store, 'late@1', 'champion', why='good too', settings=as_(store, 'grace'))


def test_what_was_rejected_or_taken_back_is_not_approved(store: Store) -> None:
    store = needing_approval(store)
    train(store)
    for user in 'grace', 'ada':  # another person says no; who asked takes it back
        promote(store, 'late@1', 'champion', why='good')
        reject(store, 'late@1', 'champion', why='no', settings=as_(store, user))
        with pytest.raises(NotFoundError, match='nobody asks for late@1'):
            approve(store, 'late@1', 'champion', why='fine', settings=as_(store, 'grace'))
    promote(store, 'late@1', 'champion', why='good')
    nobody = as_(store, 'eve', roles={**store.settings.roles, 'approve': ()})
    with pytest.raises(RefusedError, match='eve may not approve'):
        reject(store, 'late@1', 'champion', why='no', settings=nobody)


def test_roles_gates_and_approvals_can_not_be_set_by_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        'ROLES_APPROVE',
        'GATES_GOOD',
        'MODEL_LATE_APPROVAL',
        'MODEL_LATE_TRUSTED',
        'MODEL_LATE_GATES',
    ):
        with monkeypatch.context() as environment:
            environment.setenv(f'MLOPS_NB_{name}', '')
            with pytest.raises(UsageError, match=f'MLOPS_NB_{name}'):
                load_settings(store.settings.root)


def test_each_change_of_the_settings_is_in_the_chain_before_what_was_done_under_them(store: Store) -> None:
    train(store)
    store = needing_approval(store)
    train(store)
    told = [(entry.action, entry.details.get('changed')) for entry in entries(store)]
    assert [action for action, _ in told] == ['settings', 'register', 'settings', 'register']
    assert told[2][1] == ['[model late] approval']


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


def _approve(number: int, root: Path) -> str:
    store = open_store(load_settings(root))
    try:
        approve(
            store, f'late@{number % 2 + 1}', 'champion', why='me', settings=as_(store, f'person-{number}')
        )
    except (ConflictError, NotFoundError) as e:
        return str(e)
    return 'won'


def test_of_two_versions_that_are_approved_at_once_one_wins_and_the_other_is_told(
    settings: Settings,  # noqa: F811
) -> None:
    store = needing_approval(open_store(settings))
    for number in 1, 2:
        train(store)
        promote(store, f'late@{number}', 'champion', why='good')
    told = race(_approve, store.settings.root, processes=2)
    assert sorted(text == 'won' for text in told) == [False, True]
    assert any('moved since' in text or 'meanwhile' in text for text in told)
    assert len([e for e in entries(store, 'model:late@champion') if e.action == 'approve']) == 1
    assert faults(store) == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(['promote', 'approve', 'reject', 'rollback']),
        st.integers(1, 3),
        st.sampled_from('abc'),
    ),
    max_size=25,
)


@hypothesis.settings(max_examples=15, deadline=None)
@given(steps=STEPS, second=st.booleans())
def test_the_story_of_an_alias_is_a_chain_without_gaps_whatever_is_asked_in_whatever_order(
    three_versions: Path, steps: list[tuple[str, int, str]], second: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = shutil.copytree(three_versions, Path(folder, 'project'))
        store = open_store(load_settings(root))
        store = needing_approval(store) if second else store
        serves: list[int] = []  # a simple model: the versions that lead to where the alias points
        for action, version, user in steps:
            who = as_(store, user)
            try:
                if action == 'rollback':
                    rollback(store, 'late', 'champion', why='worse', settings=who)
                    serves.pop()
                    continue
                call = {'promote': promote, 'approve': approve, 'reject': reject}[action]
                made = call(store, f'late@{version}', 'champion', why='so', settings=who)
            except MlopsError:
                continue
            if isinstance(made, Move) and made.version != made.previous:
                serves.append(version)
        assert faults(store) == [] and verify(store).whole
        if serves:
            assert load_version(store, 'late@champion').version == serves[-1]
        moves = [e for e in entries(store, 'model:late@champion') if e.action not in ('request', 'reject')]
        assert [e.details['revision'] for e in moves] == list(range(1, len(moves) + 1))
        assert all(a.details['to'] == b.details['from'] for a, b in itertools.pairwise(moves))
        if second:
            assert all(e.who != e.details['asked_by'] for e in moves if e.action == 'approve')


@pytest.fixture(scope='module')
def three_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('three') / 'project'
    store = open_store(new_project(root))
    for _ in range(3):
        train(store)
    store.engine.dispose()
    return root


# --- hostile hands and full disks


def test_a_file_that_was_exchanged_for_another_models_is_not_read(store: Store) -> None:
    train(store)
    other = register(
        store, 'late', LogisticRegression().fit([[0.0], [1.0]], [1, 0]), metrics={'roc_auc': 0.8}, gates=[]
    )
    with store.begin() as connection:
        connection.exec_driver_sql(f"UPDATE model_version SET file = '{other.digest}' WHERE version = 1")
    with pytest.raises(CorruptError, match='the catalogue was changed by hand'):
        load_version(store, 'late@1').estimator()
    assert 'model:late@1 has another file than was registered' in faults(store)


def test_skops_reads_no_byte_of_a_file_that_is_not_the_one_that_was_registered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skops.io

    version = train(store)
    path = store.path(version.digest)
    path.chmod(0o644)
    path.write_bytes(skops.io.dumps(FunctionTransformer(os.system)))
    monkeypatch.setattr('skops.io.loads', lambda *args, **kwargs: pytest.fail('skops was asked'))
    monkeypatch.setattr(
        'skops.io.get_untrusted_types', lambda *args, **kwargs: pytest.fail('skops was asked')
    )
    with pytest.raises(CorruptError, match='is damaged'):
        version.estimator()


def test_an_estimator_that_can_not_be_loaded_again_is_not_registered_and_the_reason_names_it(
    store: Store,
) -> None:
    line = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    local = FunctionTransformer(lambda rows: rows)
    for model, named in (
        (make_pipeline(FunctionTransformer(os.system), line), r'posix\.system'),
        (make_pipeline(FunctionTransformer(os.path.basename), line), r'posixpath\.basename'),
        (make_pipeline(local, line), 'lambda'),
    ):
        with pytest.raises(UsageError, match=named):
            register(store, 'late', model, metrics={'roc_auc': 0.8}, gates=[])
    assert len(versions(store)) == 0 == len(entries(store)) and not check(store)


def test_a_type_of_another_package_is_taken_when_the_settings_name_it(store: Store) -> None:
    path = store.settings.root / 'settings.ini'
    path.write_text(path.read_text() + 'trusted = posixpath.basename\n')
    store = open_store(load_settings(store.settings.root))
    model = FunctionTransformer(os.path.basename)
    version = register(store, 'late', model, metrics={'roc_auc': 0.8}, gates=[])
    assert version.about()['types'] == ['posixpath.basename']
    assert version.estimator().func is os.path.basename
    without = load_settings(new_project(store.settings.root).root)
    with pytest.raises(RefusedError, match=r'posixpath\.basename'):
        replace(version, store=open_store(without)).estimator()


def test_a_projects_own_function_needs_no_naming_but_what_it_imports_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = store.settings.root / 'own_flights'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / 'features.py').write_text('from os import system\n\n\ndef same(rows):\n    return rows\n')
    monkeypatch.syspath_prepend(str(store.settings.root))
    from own_flights import features

    model = FunctionTransformer(features.same)
    version = register(store, 'late', model, metrics={'roc_auc': 0.8}, gates=[])
    assert version.about()['types'] == ['own_flights.features.same']
    assert version.estimator().func is features.same

    features.system.__module__  # noqa: B018 it is posix, but a file may call it as it likes
    hostile = dump_model(model, trusted=['own_flights.features.same'])
    with pytest.raises(RefusedError, match=r'own_flights\.features\.system'):
        load_model(renamed(hostile, 'same', 'system'), trusted=OwnTypes(store.settings.root))


def renamed(data: bytes, before: str, after: str) -> bytes:
    "A model file whose description asks for another function."
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(f'"{before}"'.encode(), f'"{after}"'.encode()))
    return out.getvalue()


def test_another_format_is_a_class_of_the_project(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    package = store.settings.root / 'own_formats'
    package.mkdir()
    (package / '__init__.py').write_text(
        'class Number:\n    def dump(self, model):\n        return repr(model).encode()\n\n'
        '    def load(self, data):\n        return float(data)\n'
    )
    version = register(store, 'late', 0.25, metrics={'roc_auc': 0.8}, gates=[], format='own_formats.Number')
    assert load_version(store, 'late@1').estimator() == 0.25
    with pytest.raises(RefusedError, match='expected skops, or a class'):
        register(store, 'late', 0.25, metrics={}, gates=[], format='pickle.Pickler')
    assert version.about()['how'] == 'own_formats.Number'


def test_rows_that_do_not_fit_the_signature_are_refused_by_column(store: Store) -> None:
    rows = pd.DataFrame({'rain': np.arange(9.0), 'hour': np.arange(9), 'carrier': pd.Categorical(['UA'] * 9)})
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features='from_dtype')
    model.fit(rows, rows.hour > 4)
    version = register(store, 'late', model, metrics={'roc_auc': 0.8}, gates=[], sample=rows)
    shuffled_columns = rows[['carrier', 'hour', 'rain']].assign(dest='SFO')
    assert version.inputs(shuffled_columns).equals(rows)
    for other, named in (
        (rows.drop(columns='rain'), "no column 'rain'"),
        (rows.astype({'carrier': str}), "text in 'carrier', expected category"),
        (rows.astype({'hour': str}), "text in 'hour', expected number"),
    ):
        with pytest.raises(ContractError, match=named):
            version.inputs(other)


@hypothesis.settings(max_examples=60, deadline=None)
@given(frame=frames(smallest=1))
def test_a_sample_comes_back_exactly_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame
) -> None:
    store = open_store(new_project(tmp_path_factory.getbasetemp() / 'samples'))
    model = DummyClassifier().fit([[0], [1]], [0, 1])
    try:
        version = register(store, 'late', model, metrics={'roc_auc': 0.8}, gates=[], sample=frame)
    except UsageError as e:
        with pytest.raises(ValueError, match=re.escape(str(e).partition(': ')[2].partition('. Expected')[0])):
            frame_file(shuffled(frame))
    else:
        assert_same(load_version(store, str(version)).sample(), shuffled(frame))


@pytest.mark.parametrize(
    ('dtype', 'gap'),
    [('object', None), ('object', float('nan')), ('str', None), ('category', None), ('category', pd.NA)],
)  # of pd.NA among texts scikit-learn cannot learn
def test_a_versions_fingerprint_holds_on_its_own_sample(store: Store, dtype: str, gap: object) -> None:
    random = np.random.default_rng(0)
    gone = random.random(400) < 0.3
    words = pd.Series(random.choice(['web', 'phone'], 400), dtype=object)
    words[gone] = gap
    rows = pd.DataFrame({'channel': words.astype(dtype), 'amount': random.normal(size=400)})
    late = np.where(gone, random.random(400) < 0.9, random.random(400) < 0.2)
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features='from_dtype')
    if dtype != 'category':
        numbered = OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1)
        model = make_pipeline(
            make_column_transformer((numbered, ['channel']), remainder='passthrough'), model
        )
    register(store, 'late', model.fit(rows, late), metrics={'roc_auc': 0.8}, gates=[], sample=rows)
    version = load_version(store, 'late@1')
    sample = version.sample()
    assert_same(sample, shuffled(rows))
    assert fingerprint(behaviour(version.estimator(), sample)) == version.about()['fingerprint']
    assert version.takes() == signature(rows) and sample['channel'].isna().any()


def test_a_full_disk_registers_nothing_and_leaves_the_alias_where_it_was(full_disk: Path) -> None:
    store = open_store(new_project(full_disk / 'project'))
    train(store)
    promote(store, 'late@1', 'champion', why='the first')
    with contextlib.suppress(OSError), (full_disk / 'ballast').open('wb', buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(StoreError, match='Free some space'):
        train(store)
    (full_disk / 'ballast').unlink()
    assert load_version(store, 'late@champion').version == 1 and len(versions(store)) == 1
    assert verify(store).whole and faults(store) == []
    assert not [finding for finding in check(store) if finding.is_fault]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip('mounting needs root')
    command = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip('no tmpfs can be mounted here')
    yield tmp_path
    gc.collect()  # the catalogue is closed with its store
    subprocess.run(['umount', '--lazy', str(tmp_path)], check=True)


def test_what_is_refused_is_refused_with_an_error_of_the_tree(store: Store) -> None:
    for spec in 'late', 'late@', 'late@0', 'late@-1', '../late@1', 'late@1@2', '', 'late@9', 'late@champion':
        with pytest.raises(MlopsError, match=r'expected|none yet'):
            load_version(store, spec)
