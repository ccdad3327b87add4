"""The audit chain: whatever is changed behind its back is found, and the first altered entry is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import fresh_database, new_project, postgres, settings  # noqa: F401
from sklearn.linear_model import LogisticRegression
from small import Run

from mlops_nb.core import Settings, StoreError, UsageError
from mlops_nb.core.hashing import canonical_json, sha256
from mlops_nb.models import card_html, promote, register
from mlops_nb.models.aliases import faults
from mlops_nb.models.card import card_witness
from mlops_nb.store import Store, entries, open_store, verify
from mlops_nb.store.audit import Witness, append, export, head, read_export
from mlops_nb.store.schema import audit

ROWS = 6


def filled(settings: Settings) -> Store:  # noqa: F811
    "A chain of six decisions."
    store = open_store(settings)
    for number in range(1, ROWS + 1):
        with store.begin() as connection:
            details = {'to': number, 'why': f'{number} is better'}
            append(connection, 'accept', 'report:7', details, who='ada')
    return store


def execute(store: Store, *statements: str) -> None:
    with store.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def kept_head(store: Store) -> Witness:
    with store.read() as connection:
        return Witness(head(connection), 'a copy')


@pytest.mark.parametrize('column', ['who', 'action', 'subject', 'details', 'at', 'hash', 'previous'])
@pytest.mark.parametrize('number', [1, 3, ROWS])
def test_altering_any_part_of_any_entry_is_found_and_the_entry_is_named(
    settings: Settings,  # noqa: F811
    column: str,
    number: int,
) -> None:
    store = filled(settings)
    value = '{"to":9}' if column == 'details' else '2013-01-01 00:00:00+00' if column == 'at' else 'x'
    execute(store, f"UPDATE audit SET {column} = '{value}' WHERE number = {number}")
    found = verify(store)
    named = {number, number - 1} if column == 'previous' else {number}
    assert found.broken_at in named and not found.whole and str(found.broken_at) in found.reason


@pytest.mark.parametrize('number', [1, 3, ROWS - 1])
def test_deleting_an_entry_is_found_also_when_the_others_move_up(
    settings: Settings,  # noqa: F811
    number: int,
) -> None:
    store = filled(settings)
    execute(store, f'DELETE FROM audit WHERE number = {number}')
    assert verify(store).broken_at == number
    for later in range(number + 1, ROWS + 1):
        execute(store, f'UPDATE audit SET number = {later - 1} WHERE number = {later}')
    assert verify(store).broken_at == number


def test_exchanging_two_entries_is_found(settings: Settings) -> None:  # noqa: F811
    store = filled(settings)
    execute(
        store,
        'UPDATE audit SET number = 99 WHERE number = 2',
        'UPDATE audit SET number = 2 WHERE number = 4',
        'UPDATE audit SET number = 4 WHERE number = 99',
    )
    assert verify(store).broken_at == 2


def forged(store: Store, change: Callable[[dict[str, object]], None], first: int = 1) -> None:
    "Change an entry, and compute all hashes from there on anew, as somebody who knows the format would."
    with store.begin() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(audit).order_by(audit.c.number)).mappings()]
        previous = rows[first - 2]['hash'] if first > 1 else ''
        for row in rows[first - 1 :]:
            if row['number'] == first:
                change(row)
            row['previous'] = previous
            said = {name: row[name] for name in ('number', 'at', 'who', 'action', 'subject', 'details')}
            previous = row['hash'] = sha256(f'{previous}\n{canonical_json(said)}'.encode())
            connection.execute(audit.update().where(audit.c.number == row['number']).values(row))


def test_a_cut_tail_is_found_by_a_head_that_was_kept(settings: Settings) -> None:  # noqa: F811
    store = filled(settings)
    kept = kept_head(store)
    execute(store, f'DELETE FROM audit WHERE number = {ROWS}')
    assert verify(store).whole
    found = verify(store, [kept])
    assert not found.whole and 'the chain ends before that' in found.denied[0]


@pytest.mark.parametrize('first', [1, 4, ROWS])
def test_a_chain_that_was_written_anew_is_found_by_a_head_that_was_kept(
    settings: Settings,  # noqa: F811
    first: int,
) -> None:
    store = filled(settings)
    kept, lines = kept_head(store), list(export(store))
    forged(store, lambda row: row.update(who='eve'), first)
    assert verify(store).whole and entries(store)[first - 1].who == 'eve'
    for witness in kept, read_export(lines, 'the export'):
        found = verify(store, [witness])
        assert not found.whole and 'has another entry there' in found.denied[0]


def test_an_honest_chain_that_grew_since_agrees_with_every_head(settings: Settings) -> None:  # noqa: F811
    store = filled(settings)
    kept = kept_head(store)
    execute(store)
    with store.begin() as connection:
        append(connection, 'promote', 'model:late@champion', {'to': 9}, who='ada')
    assert verify(store, [kept, kept_head(store)]).whole


def test_a_model_card_is_a_witness_of_everything_before_it(settings: Settings) -> None:  # noqa: F811
    store = filled(settings)
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    version = register(store, 'late', model, metrics={'roc_auc': 0.8}, gates=[])
    copy = card_html(version)
    forged(store, lambda row: row.update(details='{"to":1,"why":"no reason"}'), 2)
    assert verify(store).whole
    assert not verify(store, [card_witness(copy, 'a copy of the card')]).whole


def test_an_export_that_was_changed_is_no_witness(settings: Settings) -> None:  # noqa: F811
    lines = list(export(filled(settings)))
    for bad in lines[1:], [line.replace('ada', 'eve') for line in lines], [lines[0], lines[0]]:
        with pytest.raises(UsageError, match='was changed'):
            read_export(bad, 'audit.jsonl')
    assert read_export(lines[:3], 'a part').head.number == 3


def test_the_command_names_the_first_altered_entry_and_ends_with_1(tmp_path: Path, mlops: Run) -> None:
    store = filled(new_project(tmp_path))
    assert mlops('audit', 'export', 'kept.jsonl', folder=tmp_path).returncode == 0
    whole = mlops('audit', 'verify', '--export', 'kept.jsonl', folder=tmp_path)
    assert 'none altered; heads kept elsewhere that agree: 1' in whole.stdout
    execute(store, "UPDATE audit SET who = 'eve' WHERE number IN (3, 5)")
    broken = mlops('audit', 'verify', folder=tmp_path)
    assert broken.returncode == 1 and 'BROKEN at entry 3' in broken.stdout
    assert mlops('doctor', folder=tmp_path).returncode == 1
    forged(store, lambda row: None)
    again = mlops('audit', 'verify', '--export', 'kept.jsonl', folder=tmp_path)
    assert again.returncode == 1 and 'kept.jsonl saw entry 6' in again.stdout
    assert json.loads((tmp_path / 'kept.jsonl').read_text().splitlines()[2])['who'] == 'ada'


GRANTS = """
CREATE ROLE mlops_user LOGIN;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO mlops_user;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO mlops_user;
REVOKE UPDATE, DELETE, TRUNCATE ON audit, file, model_version, dataset_version FROM mlops_user;
"""


def test_with_the_grants_that_the_tutorial_gives_postgresql_itself_refuses_to_alter_history(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = fresh_database(request)
    owner = open_store(new_project(tmp_path, url))
    execute(owner, *filter(str.strip, GRANTS.split(';')))
    user = open_store(new_project(tmp_path, url.replace('postgresql://', 'postgresql://mlops_user@').replace(
        'mlops_user@' + url.removeprefix('postgresql://').partition('@')[0], 'mlops_user')))  # fmt: skip
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    version = register(user, 'late', model, metrics={'roc_auc': 0.8}, gates=[])
    promote(user, str(version), 'champion', why='the first')
    for statement in (
        "UPDATE audit SET who = 'eve'",
        'DELETE FROM audit',
        'TRUNCATE audit',
        "UPDATE model_version SET file = 'ab'",
        'DROP TABLE audit',
    ):
        with pytest.raises(StoreError, match=r'permission denied|must be owner'):
            execute(user, statement)
    assert verify(owner).whole and faults(owner) == []
