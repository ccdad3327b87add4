"""Reports and decisions: kept once, decided by those who may, and harmless whatever the names are."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from databases import new_project, postgres, settings  # noqa: F401
from pages import Seen, assert_harmless
from processes import race, run

from mlops_nb.core import (
    ConflictError,
    CorruptError,
    MlopsError,
    NotFoundError,
    RefusedError,
    Settings,
    UsageError,
    load_settings,
)
from mlops_nb.drift import (
    Drift,
    Report,
    accepted,
    cases,
    compare,
    decide,
    decisions,
    find_report,
    muted,
    recent_profiles,
    reference_batches,
    reference_profiles,
    report,
)
from mlops_nb.drift.decision import ACTIONS
from mlops_nb.profiles import Profile, profile_table, save_profile
from mlops_nb.store import Store, entries, open_store, verify
from mlops_nb.store.check import check
from mlops_nb.store.crash_points import WRITE_POINTS
from mlops_nb.store.schema import drift_report


def month(number: int, *, shift: float = 0.0, letters: str = 'abc') -> Profile:
    rng = np.random.default_rng(number)
    columns = {'distance': rng.normal(900 + shift, 100, 300), 'carrier': rng.choice(list(letters), 300)}
    return profile_table(pa.table(columns), metadata={'batch': f'2013-{number:02}'})


MONTHS = [month(number) for number in range(1, 7)]
JULY = month(7, shift=90, letters='ab')
SOON = date.today() + timedelta(days=30)


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
    decide(store, store.settings, first.id, 'mute', about=['carrier'], why='two carriers merged', until=SOON)
    second = keep(store, compare(JULY, MONTHS, ignore=muted(store, 'late')))
    assert second.id == first.id
    assert second.drift.drifted == ('distance',)
    assert [one.action for one in second.decisions] == ['mute']
    assert [entry.action for entry in entries(store)] == ['report', 'settings', 'mute', 'report']


def test_the_page_is_one_file_that_says_the_answer_first_and_what_to_do_last(store: Store) -> None:
    page = keep(store).html
    text = Seen(page).text
    assert_harmless(page)
    order = [
        '2 of 2 columns drifted in 2013-07: carrier and distance.',
        'Is something wrong?',
        'What changed',
        'All columns',
        'Decisions',
        'mlops-nb review',
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert '<svg' in page[page.index('What changed') : page.index('All columns')]
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
        about=[HOSTILE[0]],
        until=SOON,
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
    words = ['mlops-nb', 'review', 'mute', 'late', 'b $1', f'--column={name}', '--until', 'DAY', '--why', '…']
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
    ('action', 'given', 'says'),
    [
        ('acept', {}, "Did you mean 'accept'?"),
        ('', {}, 'expected one of accept'),
        ('accept', {'why': ''}, 'a reason to accept of 0 letters'),
        ('accept', {'why': ' \n'}, 'a reason to accept of 0 letters'),
        ('accept', {'why': 'x' * 4001}, 'at most 4000 letters'),
        ('accept', {'until': SOON}, 'has no end'),
        ('accept', {'since': '2013-08'}, 'found no batch'),
        ('watch', {'since': '2013-06', 'until': SOON}, 'only with accept'),
        ('mute', {'until': SOON}, 'expected a column'),
        ('mute', {'until': SOON, 'about': ['carier']}, "Did you mean 'carrier'?"),
        ('mute', {'about': ['carrier']}, 'found no day to mute'),
        ('mute', {'about': ['carrier'], 'until': date.today()}, 'expected a day after today'),
        ('mute', {'about': ['carrier'], 'until': date.max}, 'nothing is put aside for ever'),
        ('watch', {}, 'look again on'),
        ('retrain', {'about': ['carrier']}, 'about the whole batch'),
        ('reopen', {'after': 3}, 'found no decision 3'),
    ],
)
def test_what_is_no_decision_is_refused_and_nothing_is_written(
    store: Store, action: str, given: dict[str, Any], says: str
) -> None:
    kept = keep(store)
    with pytest.raises(MlopsError) as refused:
        decide(store, store.settings, kept.id, action, **{'why': 'x', **given})
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
    assert (made.who, made.why, made.action, made.about) == (
        'ada',
        'the summer schedule began',
        'retrain',
        (),
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
    try:
        return decide(store, store.settings, report_id, 'retrain', why=f'reason {number}').why
    except ConflictError as e:
        return str(e)


def test_of_people_who_decide_at_once_one_is_heard_and_the_others_are_shown_the_first(
    settings: Settings,  # noqa: F811
) -> None:
    store = open_store(settings)
    kept = keep(store)
    answers = race(_decide, settings.root, kept.id, processes=4)
    (made,) = decisions(store).itertuples()
    assert answers.count(made.why) == 1
    others = [answer for answer in answers if answer != made.why]
    assert all(made.why in answer and f'--after {made.id}' in answer for answer in others)
    assert verify(store).broken_at is None


def test_who_has_seen_the_first_decision_can_decide_after_it(store: Store) -> None:
    kept = keep(store)
    first = decide(store, store.settings, kept.id, 'investigate', why='is it the weather?')
    grace = replace(store.settings, user='grace')
    with pytest.raises(ConflictError, match=r'ada on .*is it the weather'):
        decide(store, grace, kept.id, 'retrain', why='it is time')
    second = decide(store, grace, kept.id, 'retrain', why='it is time', after=first.id)
    assert find_report(store, 'late', '2013-07').after == second.id
    with pytest.raises(ConflictError, match='grace'):
        decide(store, store.settings, kept.id, 'reopen', why='it was not', after=first.id)


def _story(root: Path) -> None:
    store = open_store(load_settings(root))
    kept = keep(store, run='ScoreFlow/1')
    decide(store, store.settings, kept.id, 'retrain', why='the summer schedule began')


@pytest.mark.parametrize('point', [point for point in WRITE_POINTS if not point.startswith('erasure.')])
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
    told = [entry.action for entry in entries(store)]
    assert told == ['report', 'settings', 'retrain']  # the settings in force, once
    assert verify(store).broken_at is None
    assert decisions(store)['action'].tolist() == ['retrain']
    assert find_report(store, 'late', '2013-07').run == 'ScoreFlow/1'


# --- what decisions change


def test_muting_and_accepting_hold_until_they_are_taken_back(store: Store) -> None:
    kept = keep(store)

    def now(action: str, *about: str, until: date | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
        after = find_report(store, 'late', '2013-07').after
        decide(store, store.settings, kept.id, action, why='so', about=about, until=until, after=after)
        return accepted(store, 'late'), muted(store, 'late')

    july = {'2013-07': ()}
    assert now('accept') == (july, ())
    assert now('mute', 'carrier', until=SOON) == (july, ('carrier',))
    assert now('retrain') == (july, ('carrier',))
    assert now('watch', 'carrier', until=SOON) == (july, ())
    assert now('mute', 'carrier', 'distance', until=SOON) == (july, ('carrier', 'distance'))
    assert now('reopen', 'distance') == (july, ('carrier',))
    assert now('investigate') == ({}, ('carrier',))
    assert now('accept') == (july, ('carrier',))
    assert now('bad-data') == ({}, ('carrier',))
    assert now('reopen') == ({}, ())
    assert muted(store, 'other') == () and accepted(store, 'other') == {}


def test_a_mute_ends_on_its_day_without_anybody_deciding(store: Store) -> None:
    decide(store, store.settings, keep(store).id, 'mute', about=['carrier'], why='merged', until=SOON)
    assert muted(store, 'late', on=SOON - timedelta(days=1)) == ('carrier',)
    assert muted(store, 'late', on=SOON) == ()


def test_what_is_accepted_for_some_columns_from_some_month_on_is_normal_for_these_alone(
    tmp_path: Path,
) -> None:
    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text() + 'window = 4\nreference = 4\n')
    store = open_store(load_settings(tmp_path))
    kept, model = keep(store), store.settings.model('late')
    decide(store, store.settings, kept.id, 'accept', about=['carrier'], since='2013-06', why='c left')
    found = {one.metadata['batch']: set(one.columns) for one in reference_profiles(store, model)}
    assert [*found] == ['2013-01', '2013-02', '2013-03', '2013-04', '2013-06', '2013-07']
    assert found['2013-04'] == {'carrier', 'distance'} and found['2013-07'] == {'carrier'}
    assert compare(month(8, shift=900, letters='ab'), reference_profiles(store, model)).drifted == (
        'distance',
    )


@pytest.mark.parametrize('choice', ['all', 'last 3'])
def test_a_batch_accepted_for_one_column_is_normal_there_and_no_column_loses_a_batch(
    tmp_path: Path, choice: str
) -> None:
    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text() + f'window = 5\nreference = 5\n[drift]\nreference = {choice}\n')
    store = open_store(load_settings(tmp_path))
    kept, model, columns = keep(store), store.settings.model('late'), ('carrier', 'distance')
    save_profile(store, month(8), dataset='flights', batch='2013-08')

    def held(column: str) -> list[list[str]]:
        "The names of the reference of a column, and of what came later."
        sides = [side(store, model, batch='2013-09') for side in (reference_profiles, recent_profiles)]
        return [[one.metadata['batch'] for one in side if column in one.columns] for side in sides]

    before = {column: held(column) for column in columns}
    assert before['carrier'] == before['distance'] and before['carrier'][1] == [
        '2013-06',
        '2013-07',
        '2013-08',
    ]
    decide(store, store.settings, kept.id, 'accept', about=['carrier'], why='c left')
    assert held('distance') == before['distance']
    reference, recent = held('carrier')
    assert reference[-1] == '2013-07' and recent == ['2013-06', '2013-08']
    assert len(reference) == len(before['carrier'][0]) + (choice == 'all')
    sides = [side(store, model, batch='2013-09') for side in (reference_profiles, recent_profiles)]
    drift = compare(month(9, shift=90, letters='ab'), sides[0], recent=sides[1])
    distance = next(one for one in drift.columns if one.column == 'distance')
    assert distance.trend and None not in distance.trend.values and drift.batches.count('2013-07') == 1
    assert drift.batches[-4:] == ('2013-06', '2013-07', '2013-08', '2013-09')


def test_what_was_accepted_on_a_pair_is_normal_for_the_pair_alone(store: Store) -> None:
    from mlops_nb.profiles import pair_of, profile as build

    rng, model = np.random.default_rng(5), store.settings.model('late')
    first = profile_table(pa.table({'out': rng.normal(0, 1, 2000), 'back': rng.normal(0, 1, 2000)}))
    pair = pair_of(first.columns['out'], first.columns['back'])

    def arrive(number: int, tie: float) -> Profile:
        out, name = rng.normal(0, 1, 2000), f'2013-{number:02}'
        rows = pa.table({'out': out, 'back': tie * out + np.sqrt(1 - tie**2) * rng.normal(0, 1, 2000)})
        arrived = build(rows, {'batch': name}, pairs=[pair])
        save_profile(store, arrived, dataset='flights', batch=name)
        return arrived

    def told(one: Profile) -> Report:
        sides = [
            side(store, model, batch=one.metadata['batch']) for side in (reference_profiles, recent_profiles)
        ]
        drift = compare(one, sides[0], recent=sides[1])
        return report(store, drift, batch=one, reference=sides[0], model='late', dataset='flights')

    for number in range(1, 7):
        arrive(number, 0.9)
    kept = told(arrive(7, 0.2))
    assert kept.drift.drifted == ('out with back',)
    decide(store, store.settings, kept.id, 'accept', about=kept.drift.drifted, why='no more return tickets')
    latest = {one.metadata['batch']: one for one in reference_profiles(store, model, batch='2013-08')}[
        '2013-07'
    ]
    assert [*latest.columns] == [pair.name]
    later = told(arrive(8, 0.2)).drift
    assert later.drifted == () and all('2013-07' in side for side in (later.reference, later.batches))
    assert all(one.trend and None not in one.trend.values for one in later.columns)


def test_a_reference_of_one_weekday_is_followed_by_batches_of_that_weekday_alone(tmp_path: Path) -> None:
    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text() + 'window = 21\n[drift]\nreference = same weekday\n')
    store = open_store(load_settings(tmp_path))
    for day in range(1, 31):
        save_profile(store, month(1), dataset='flights', batch=f'2013-04-{day:02}')
    model = store.settings.model('late')
    reference = reference_profiles(store, model, batch='2013-04-29')
    recent = recent_profiles(store, model, batch='2013-04-29')
    days = [[one.metadata['batch'][-2:] for one in side] for side in (reference, recent)]
    assert days == [['01', '08', '15'], ['22']]


def test_nothing_trains_on_a_batch_of_bad_data_until_it_is_taken_back(store: Store) -> None:
    from mlops_nb.data import commit, load

    for number in 6, 7:
        commit(store, 'flights', pa.table({'number': [number]}), batch=f'2013-{number:02}', contract=None)
    kept, model = keep(store), store.settings.model('late')
    made = decide(store, store.settings, kept.id, 'bad-data', why='minutes for hours')
    latest = load(store, 'flights@latest')
    assert latest.batches == ('2013-06',) and latest.pandas()['number'].tolist() == [6]
    assert load(store, 'flights@2').batches == ('2013-06', '2013-07')
    assert latest.pandas(batches=['2013-07'])['number'].tolist() == [7]
    assert '2013-07' not in reference_batches(store, model)
    decide(store, store.settings, kept.id, 'reopen', why='it was hours after all', after=made.id)
    assert load(store, 'flights@latest').batches == ('2013-06', '2013-07')


def later(store: Store, number: int, **more: Any) -> Report:
    "The report of a month after July, by what is normal and muted now."
    arrived = month(number, **more)
    save_profile(store, arrived, dataset='flights', batch=arrived.metadata['batch'])
    reference = reference_profiles(store, store.settings.model('late'))
    drift = compare(arrived, reference, ignore=muted(store, 'late'))
    return report(store, drift, batch=arrived, reference=reference, model='late', dataset='flights')


def test_a_change_that_lasts_is_one_case_and_not_one_a_month(store: Store) -> None:
    for one in MONTHS:
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    for number in 7, 8, 9:
        later(store, number, letters='ab')
    (case,) = cases(store, 'late')
    assert [one.batch for one in case.reports] == ['2013-07', '2013-08', '2013-09'] and case.state == 'open'
    decide(store, store.settings, case.latest.id, 'watch', why='is it the schedule?', until=SOON)
    later(store, 10, letters='ab')
    assert [(one.state, len(one.reports)) for one in cases(store)] == [('watched', 4)]
    assert [one.state for one in cases(store, on=SOON)] == ['open']
    later(store, 11, shift=500, letters='ab')
    assert [(one.state, one.cause) for one in cases(store)] == [
        ('open', ('distance ↑', 'carrier')),
        ('watched', ('carrier',)),
    ]


def test_a_column_that_turns_round_is_another_case(store: Store) -> None:
    for one in MONTHS:
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    first = later(store, 8, shift=500)
    decide(store, store.settings, first.id, 'mute', about=['distance'], why='a longer route', until=SOON)
    assert muted(store, 'late') == ('distance',)
    made = decisions(store).iloc[0]
    decide(store, store.settings, first.id, 'reopen', why='look again', after=int(made['id']))
    second = later(store, 9, shift=500)
    third = later(store, 10, shift=-500)
    assert [(one.cause, len(one.reports)) for one in cases(store)] == [
        (('distance ↓',), 1),
        (('distance ↑',), 2),
    ]
    decide(store, store.settings, third.id, 'investigate', about=['distance'], why='shorter?')
    assert [one.state for one in cases(store)] == ['investigated', 'open']
    assert second.case and second.case.reports[0].id == first.id


def test_a_clock_that_goes_back_does_not_put_a_new_report_under_an_old_decision(store: Store) -> None:
    for one in MONTHS:
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    first = later(store, 8, shift=500)
    decide(store, store.settings, first.id, 'retrain', why='a longer route')
    second = later(store, 9, shift=500)
    with store.begin() as connection:  # as if the clock had been set back before the second came
        here, early = drift_report.c.id == second.id, first.created_at - timedelta(days=9)
        connection.execute(drift_report.update().where(here).values(created_at=early))
    assert [(one.latest.batch, one.state) for one in cases(store, 'late')] == [
        ('2013-09', 'open'),
        ('2013-08', 'decided'),
    ]


def test_what_is_muted_or_accepted_in_a_segment_raises_no_alarm_there(store: Store) -> None:
    from mlops_nb.profiles import profile as build

    rng, model = np.random.default_rng(3), store.settings.model('late')

    def arrive(number: int, lift: float) -> Report:
        city = rng.choice(['Rome', 'Oslo', 'Bern'], 4000, p=[0.5, 0.45, 0.05])
        fare = rng.exponential(20, 4000) * np.where(city == 'Bern', lift, 1)
        name = f'2013-{number:02}'
        arrived = build(pa.table({'fare': fare, 'city': city}), {'batch': name}, segments_by=['city'])
        save_profile(store, arrived, dataset='flights', batch=name)
        if number < 7:
            return None  # type: ignore[return-value]
        reference = reference_profiles(store, model)
        drift = compare(arrived, reference, ignore=muted(store, 'late'))
        return report(store, drift, batch=arrived, reference=reference, model='late', dataset='flights')

    for number in range(1, 7):
        arrive(number, 1.0)
    part, seventh = 'fare in city=Bern', arrive(7, 2.2)
    assert seventh.case and seventh.case.cause == (f'{part} ↑',)
    made = decide(store, store.settings, seventh.id, 'mute', about=[part], why='a fair', until=SOON)
    assert arrive(8, 2.2).drift.verdict != 'drift' and arrive(8, 0.4).drift.verdict != 'drift'
    decide(store, store.settings, seventh.id, 'accept', about=[part], why='dearer now', after=made.id)
    assert arrive(9, 2.2).drift.verdict != 'drift'
    assert arrive(10, 6.0).case is not None


def test_a_column_that_drifted_as_a_whole_is_one_event_with_its_segments_named(store: Store) -> None:
    from mlops_nb.profiles import profile as build

    rng, cities = np.random.default_rng(4), ('Bern', 'Lima', 'Oslo', 'Rome')

    def arrive(number: int, lift: float, where: tuple[str, ...] = cities) -> Report:
        city, name = rng.choice(cities, 4000), f'2013-{number:02}'
        fare = rng.normal(20, 2, 4000) + lift * np.isin(city, where)
        arrived = build(pa.table({'fare': fare, 'city': city}), {'batch': name}, segments_by=['city'])
        save_profile(store, arrived, dataset='flights', batch=name)
        if number < 7:
            return None  # type: ignore[return-value]
        reference = reference_profiles(store, store.settings.model('late'))
        drift = compare(arrived, reference)
        return report(store, drift, batch=arrived, reference=reference, model='late', dataset='flights')

    for number in range(1, 7):
        arrive(number, 0.0)
    most = arrive(7, 1.0, cities[1:])
    assert {one.segment for one in most.drift.segments if one.column.drifted} == {
        'city=Lima', 'city=Oslo', 'city=Rome',
    }  # fmt: skip
    assert most.drift.parts == ('city=Bern', 'city=Lima', 'city=Oslo', 'city=Rome')
    assert most.case and most.case.cause == ('fare ↑',)
    assert most.html.count('<article') == 1
    assert 'in 3 of 4 segments by city, not in Bern' in most.html
    everywhere = arrive(8, 1.0)
    assert 'in all 4 segments by city' in everywhere.html and everywhere.html.count('<article') == 1
    alone = arrive(9, 1.0, ('Lima',))  # too little to be seen in the whole
    assert alone.case and alone.case.latest.cause == ('fare in city=Lima ↑',)
    assert '<bdi>fare</bdi> in <bdi>city=Lima</bdi>' in alone.html
    assert len(alone.case.reports) == 3  # the same change, in fewer rows
    other = arrive(10, -1.0, ('Lima',))
    assert other.case and len(other.case.reports) == 1
    half = arrive(11, 1.0, ('Lima', 'Rome'))  # it is these two that changed: each is shown
    assert half.drift.drifted == ('fare',) and half.html.count('<article') == 3
    assert 'in 2 of 4 segments by city: Lima and Rome' in half.html
    assert half.case and half.case.latest.cause == ('fare ↑',)


def test_what_was_accepted_raises_no_alarm_next_month_and_what_comes_then_is_another_case(
    store: Store,
) -> None:
    decide(store, store.settings, keep(store).id, 'accept', why='the summer schedule')
    assert later(store, 8, shift=90, letters='ab').drift.drifted == ()
    assert later(store, 9, shift=500, letters='ab').drift.drifted == ('distance',)
    assert [(one.state, one.latest.batch) for one in cases(store)] == [
        ('open', '2013-09'),
        ('decided', '2013-07'),
    ]


def test_a_promotion_waits_for_the_decision_where_the_settings_say_so(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    from mlops_nb.models import evaluate, promote, register

    new_project(tmp_path)
    path = tmp_path / 'settings.ini'
    path.write_text(path.read_text() + '[review]\nrequired = yes\n')
    store = open_store(load_settings(tmp_path))
    metrics = {'roc_auc': 0.8}
    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    register(store, 'late', fitted, metrics=metrics, gates=evaluate(store.settings, 'late', metrics))
    kept = keep(store)
    with pytest.raises(RefusedError, match='open drift report on 2013-07'):
        promote(store, 'late@1', 'champion', why='x')
    decide(store, store.settings, kept.id, 'retrain', why='it is time')
    assert promote(store, 'late@1', 'champion', why='as decided').version == 1


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
    from mlops_nb.models import evaluate, promote, register

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
    from mlops_nb.store import trace

    kept = keep(store, run='ScoreFlow/1')
    found = trace(store, f'report:{kept.id}')
    assert 'run:ScoreFlow/1' in {edge.source for edge in found.up}
    profiles = {edge.target for edge in (*found.up, *found.down) if edge.target.startswith('profile:')}
    assert len(profiles) == 7
