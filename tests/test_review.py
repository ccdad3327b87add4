"""Reports and decisions: kept once, decided by those who may, and harmless whatever the names are."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from databases import new_project, postgres, settings  # noqa: F401
from processes import race, run
from test_page import Seen, assert_harmless

from mlops_nb.audit import entries, verify
from mlops_nb.core import (
    WRITE_POINTS,
    CorruptError,
    NotFoundError,
    RefusedError,
    Settings,
    UsageError,
    load_settings,
)
from mlops_nb.drift import compare
from mlops_nb.profile import Profile, profile_table, save_profile
from mlops_nb.review import (
    ACTIONS,
    Report,
    accepted,
    decide,
    decisions,
    find_report,
    muted,
    reference_batches,
    report,
)
from mlops_nb.store import Store, check, drift_report, open_store
from mlops_nb.verdict import Drift


def month(number: int, *, shift: float = 0.0, letters: str = 'abc') -> Profile:
    rng = np.random.default_rng(number)
    columns = {'distance': rng.normal(900 + shift, 100, 300), 'carrier': rng.choice(list(letters), 300)}
    return profile_table(pa.table(columns), metadata={'batch': f'2013-{number:02}'})


MONTHS = [month(number) for number in range(1, 7)]
JULY = month(7, shift=90, letters='ab')


def keep(store: Store, drift: Drift | None = None, *, run: str = '') -> Report:
    "The report of July, with its profiles."
    for one in [*MONTHS, JULY]:
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    drift = drift or compare(JULY, MONTHS)
    return report(store, drift, batch=JULY, reference=MONTHS, model='late', dataset='flights', run=run)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(new_project(tmp_path))


# --- the report


def test_a_report_is_kept_once_on_either_database(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    kept = keep(store, run='ScoreFlow/1')
    assert keep(store, run='ScoreFlow/2') == kept == find_report(store, 'late', '2013-07')
    assert (kept.run, kept.created_by, kept.drift.drifted) == ('ScoreFlow/1', 'ada', ('carrier', 'distance'))
    assert [entry.action for entry in entries(store)] == ['report']
    assert check(store) == []


def test_another_comparison_replaces_the_report_and_keeps_its_decisions(store: Store) -> None:
    first = keep(store)
    decide(store, store.settings, first.id, 'mute', column='carrier', why='two carriers merged')
    second = keep(store, compare(JULY, MONTHS, ignore=muted(store, 'late')))
    assert second.id == first.id
    assert second.drift.drifted == ('distance',)
    assert [one.action for one in second.decisions] == ['mute']
    assert [entry.action for entry in entries(store)] == ['report', 'mute', 'report']


def test_the_page_is_one_file_that_says_the_answer_first_and_what_to_do_last(store: Store) -> None:
    page = keep(store).html
    text = Seen(page).text
    assert_harmless(page)
    order = [
        '2 of 2 columns drifted in 2013-07: carrier and distance.',
        'Columns',
        'Decisions',
        'mlops-nb review',
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert '<svg' in page[page.index('<h1>') : page.index('<h2>')]
    for action in ACTIONS:
        assert f'mlops-nb review {action} late 2013-07' in text


def test_a_fragment_in_a_notebook_leaves_the_rest_of_the_notebook_alone(store: Store) -> None:
    html = keep(store)._repr_html_()
    style = re.sub(r'/\*.*?\*/', '', html.partition('<style>')[2].partition('</style>')[0], flags=re.DOTALL)
    selectors = [part.strip() for part in re.findall(r'([^{};]+)\{', style)]
    assert len(selectors) > 50
    for selector in selectors:
        for one in selector.split(','):
            assert one.strip().startswith('@') or '.mlops-nb' in one, one
    assert '<html' not in html
    assert 'carrier and distance' in html


def test_the_page_shows_decisions_made_after_it_was_kept(store: Store) -> None:
    kept = keep(store)
    assert 'Nobody has decided anything yet.' in kept.html
    decide(store, store.settings, kept.id, 'investigate', why='is it the <b>weather</b>?')
    text = Seen(find_report(store, 'late', '2013-07').html).text
    assert 'investigate: is it the <b>weather</b>?' in text
    assert 'Nobody has decided' not in text


HOSTILE = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "'; rm -rf / #",
    '$\\frac{1}{0}$',
    '{{ 7 * 7 }}{% include "x" %}',
    '<!--/decisions--><h1>forged',
    '</main></body>',
    '\x00\x1b[31m\u202eevil',
    'x' * 500,
    '',
    '名前 🚀',
]


def test_hostile_names_and_values_stay_text_on_page_and_in_notebook(store: Store) -> None:
    rng = np.random.default_rng(0)

    def batch(number: int, names: list[str]) -> Profile:
        columns = {
            name: rng.choice(names, 200) if k % 2 else rng.normal(number, 1, 200)
            for k, name in enumerate(HOSTILE)
        }
        return profile_table(pa.table(columns), metadata={'batch': f'<i>{number}</i> $(id)'})

    reference, now = [batch(0, HOSTILE[:3]) for _ in range(6)], batch(9, HOSTILE[3:])
    reference = [replace(one, metadata={'batch': f'<b>{k}</b>'}) for k, one in enumerate(reference)]
    drift = compare(now, reference)
    assert len(drift.drifted) == len(HOSTILE)
    kept = report(
        store, drift, batch=now, reference=reference, model='late', dataset='<u>flights', run='<s>F/1'
    )
    decide(
        store,
        store.settings,
        kept.id,
        'mute',
        column=HOSTILE[0],
        why='<script>why</script> <!--/decisions-->',
    )
    kept = find_report(store, 'late', now.metadata['batch'])
    seen = assert_harmless(kept.html)
    assert seen.tags.count('h1') == 1
    assert not {'i', 'u', 's'} & set(seen.tags)
    assert '{{ 7 * 7 }}' in seen.text
    fragment = re.sub('<style>.*?</style>', '', kept._repr_html_(), flags=re.DOTALL)
    assert Seen(fragment).tags.count('script') == 0


@pytest.mark.parametrize('name', ["it's", 'a b', '$(id)', '`id`', '"x"', '-x'])
def test_the_lines_to_type_name_exactly_what_they_are_about(store: Store, name: str) -> None:
    moved = profile_table(pa.table({name: np.ones(50)}), metadata={'batch': 'b $1'})
    before = [profile_table(pa.table({name: np.zeros(50)}), metadata={'batch': f'r{k}'}) for k in range(5)]
    kept = report(
        store, compare(moved, before), batch=moved, reference=before, model='late', dataset='flights'
    )
    line = re.search(r'mlops-nb review mute .*? --why "…"', Seen(kept.html).text)
    assert line
    words = ['mlops-nb', 'review', 'mute', 'late', 'b $1', f'--column={name}', '--why', '…']
    assert shlex.split(line[0]) == words


def test_a_report_of_other_profiles_than_were_compared_is_refused(store: Store) -> None:
    drift = compare(JULY, MONTHS)
    for batch, reference in (MONTHS[0], MONTHS), (JULY, MONTHS[:5]):
        with pytest.raises(UsageError, match='found a comparison of'):
            report(store, drift, batch=batch, reference=reference, model='late', dataset='flights')
    unnamed = replace(JULY, metadata={})
    with pytest.raises(UsageError, match='name of its batch'):
        report(
            store, compare(unnamed, MONTHS), batch=unnamed, reference=MONTHS, model='late', dataset='flights'
        )
    assert entries(store) == ()


def test_a_damaged_report_is_refused(store: Store) -> None:
    keep(store)
    with store.read() as connection:
        row = connection.execute(drift_report.select()).one()
    for digest in row.result, row.page:
        path = store.path(digest)
        whole = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(whole[:-9])
        with pytest.raises(CorruptError, match='is damaged'):
            find_report(store, 'late', '2013-07')
        path.write_bytes(whole)
    assert find_report(store, 'late', '2013-07').drift.drifted


def test_a_report_that_is_not_there_names_those_that_are(store: Store) -> None:
    keep(store)
    with pytest.raises(NotFoundError, match=r"expected one of 2013-07\. Did you mean '2013-07'"):
        find_report(store, 'late', '2013-08')


# --- deciding


def test_who_has_not_the_role_cannot_decide_and_nothing_is_written(store: Store) -> None:
    kept = keep(store)
    eve = replace(store.settings, user='eve', roles={**store.settings.roles, 'review': ('ada',)})
    with pytest.raises(RefusedError, match='eve may not review'):
        decide(store, eve, kept.id, 'accept', why='because')
    assert decisions(store).empty
    assert len(entries(store)) == 1


@pytest.mark.parametrize(
    ('action', 'why', 'column', 'says'),
    [
        ('acept', 'x', None, "Did you mean 'accept'?"),
        ('', 'x', None, 'expected one of accept'),
        ('accept', '', None, 'no reason to accept'),
        ('accept', ' \n', None, 'no reason to accept'),
        ('mute', 'x', None, 'expected a column'),
        ('mute', 'x', 'carier', "Did you mean 'carrier'?"),
        ('retrain', 'x', 'carrier', 'about the whole batch'),
    ],
)
def test_what_is_no_decision_is_refused_and_nothing_is_written(
    store: Store, action: str, why: str, column: str | None, says: str
) -> None:
    kept = keep(store)
    with pytest.raises(UsageError) as refused:
        decide(store, store.settings, kept.id, action, why=why, column=column)
    assert says in str(refused.value)
    assert decisions(store).empty
    assert len(entries(store)) == 1


def test_a_decision_about_no_report_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError, match='found no drift report 7'):
        decide(store, store.settings, 7, 'accept', why='x')


def test_a_decision_says_who_when_and_why_and_is_in_the_audit_chain(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    kept = keep(store)
    made = decide(store, store.settings, kept.id, 'retrain', why=' the summer schedule began ')
    assert (made.who, made.why, made.action, made.column) == (
        'ada',
        'the summer schedule began',
        'retrain',
        None,
    )
    assert decide(store, store.settings, kept.id, 'retrain', why='the summer schedule began') == made
    entry = entries(store, f'report:{kept.id}')[-1]
    assert (entry.action, entry.who) == ('retrain', 'ada')
    assert entry.details['rules'] == store.settings.rules_hash
    assert entry.details['why'] == 'the summer schedule began'
    assert verify(store).broken_at is None
    frame = decisions(store, 'late')
    assert frame.iloc[0][['model', 'batch', 'action', 'who']].tolist() == [
        'late',
        '2013-07',
        'retrain',
        'ada',
    ]
    assert decisions(store, 'other').empty


def _decide(number: int, root: Path, report_id: int) -> str:
    store = open_store(load_settings(root))
    return decide(store, store.settings, report_id, 'watch', why=f'reason {number}').why


def test_people_who_decide_at_once_are_all_heard(settings: Settings) -> None:  # noqa: F811
    store = open_store(settings)
    kept = keep(store)
    assert race(_decide, settings.root, kept.id, processes=4) == [f'reason {k}' for k in range(4)]
    assert sorted(decisions(store)['why']) == [f'reason {k}' for k in range(4)]
    assert verify(store).broken_at is None


def _story(root: Path) -> None:
    store = open_store(load_settings(root))
    kept = keep(store, run='ScoreFlow/1')
    decide(store, store.settings, kept.id, 'retrain', why='the summer schedule began')


@pytest.mark.parametrize('point', WRITE_POINTS)
def test_killed_at_any_write_point_the_story_finishes_with_nothing_doubled(
    point: str, tmp_path: Path
) -> None:
    root = new_project(tmp_path).root
    if point not in ('store.created', 'catalogue.upgraded'):
        open_store(load_settings(root))
    assert run(_story, root, crash_at=point) == -9
    assert run(_story, root) == 0
    store = open_store(load_settings(root))
    assert [finding for finding in check(store) if finding.is_fault] == []
    assert [entry.action for entry in entries(store)] == ['report', 'retrain']
    assert verify(store).broken_at is None
    assert decisions(store)['action'].tolist() == ['retrain']
    assert find_report(store, 'late', '2013-07').run == 'ScoreFlow/1'


# --- what decisions change


def test_muting_and_accepting_hold_until_they_are_taken_back(store: Store) -> None:
    kept = keep(store)

    def now(action: str, why: str, column: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        decide(store, store.settings, kept.id, action, why=why, column=column)
        return accepted(store, 'late'), muted(store, 'late')

    assert now('accept', 'the summer schedule') == (('2013-07',), ())
    assert now('mute', 'merged', 'carrier') == (('2013-07',), ('carrier',))
    assert now('retrain', 'it is time') == (('2013-07',), ('carrier',))
    assert now('watch', 'a third one is back', 'carrier') == (('2013-07',), ())
    assert now('investigate', 'was it the weather?') == ((), ())
    assert now('accept', 'it was not') == (('2013-07',), ())
    assert muted(store, 'other') == accepted(store, 'other') == ()


def test_a_muted_column_is_shown_and_does_not_count(store: Store) -> None:
    kept = keep(store, compare(JULY, MONTHS, ignore=['carrier', 'distance']))
    text = Seen(kept.html).text
    assert kept.drift.verdict != 'drift'
    assert text.count('muted') >= 3
    assert 'c is gone' in text
    assert '▲ drifted' not in text


def test_the_first_batches_are_the_reference_until_there_is_a_champion(tmp_path: Path) -> None:
    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text() + 'window = 4\nreference = 3\n')
    store = open_store(load_settings(tmp_path))
    model = store.settings.model('late')
    assert reference_batches(store, model) == ()
    kept = keep(store)
    assert reference_batches(store, model) == ('2013-01', '2013-02', '2013-03')
    decide(store, store.settings, kept.id, 'accept', why='the summer schedule')
    assert reference_batches(store, model) == ('2013-01', '2013-02', '2013-03', '2013-07')


def test_the_reference_follows_the_champion_to_what_it_was_trained_on(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    from mlops_nb.data import commit
    from mlops_nb.gates import evaluate
    from mlops_nb.registry import promote, register

    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text() + 'window = 4\nreference = 3\n')
    store = open_store(load_settings(tmp_path))
    keep(store)
    for number in range(1, 8):
        rows = pa.table({'number': [number]})
        version = commit(store, 'flights', rows, batch=f'2013-{number:02}', contract=None)
        if number in (5, 7):
            metrics = {'roc_auc': 0.8}
            gates = evaluate(store.settings, 'late', metrics)
            model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
            register(
                store, 'late', model, metrics=metrics, gates=gates, datasets=[f'flights@{version.version}']
            )
    wanted = store.settings.model('late')
    promote(store, 'late@1', 'champion', why='the first')
    assert reference_batches(store, wanted) == ('2013-02', '2013-03', '2013-04')
    promote(store, 'late@2', 'champion', why='the second')
    assert reference_batches(store, wanted) == ('2013-04', '2013-05', '2013-06')


def test_where_a_report_came_from_is_known(store: Store) -> None:
    from mlops_nb.lineage import trace

    kept = keep(store, run='ScoreFlow/1')
    found = trace(store, f'report:{kept.id}')
    assert 'run:ScoreFlow/1' in {edge.source for edge in found.up}
    profiles = {edge.target for edge in (*found.up, *found.down) if edge.target.startswith('profile:')}
    assert len(profiles) == 7
