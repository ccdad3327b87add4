"""The review in JupyterLab: a person looks, decides, and what was decided counts; nobody else gets in."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest
from browser import Person, Server, chromium, jupyter, notebook_cells, person, until  # noqa: F401
from playwright.sync_api import Browser, expect
from small import Run, cell, write_notebook

from mlops_nb.core import load_settings
from mlops_nb.data import commit, load
from mlops_nb.drift import (
    Report,
    cases,
    compare,
    decide,
    decisions,
    find_report,
    muted,
    reference_batches,
    reference_profiles,
    report,
)
from mlops_nb.profiles import Profile, profile_table, save_profile
from mlops_nb.store import Store, entries, open_store, verify

SETTINGS = """
[user]
name = ada
[roles]
promote = ada
review = ada, grace
[gates]
good = roc_auc >= 0.7
[model late]
dataset = flights
label = late
gates = good
window = 6
reference = 6
features = features.ipynb
train = train.ipynb
validate = validate.ipynb
"""
DAY = date.today() + timedelta(days=20)


def rows(number: int, *, letters: str = 'abc', shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(number)
    return pa.table(
        {'distance': rng.normal(900 + shift, 100, 300), 'carrier': rng.choice(list(letters), 300)}
    )


def arrive(store: Store, number: int, **more: Any) -> Report:
    "A month arrives and is compared with what is normal by now."
    name, table = f'2013-{number:02}', rows(number, **more)
    commit(store, 'flights', table, batch=name, contract=None)
    profile = profile_table(table, metadata={'batch': name})
    save_profile(store, profile, dataset='flights', batch=name)
    reference = reference_profiles(store, store.settings.model('late')) or [profile]
    if number < 7:
        return None  # type: ignore[return-value]
    drift = compare(profile, reference, ignore=muted(store, 'late'))
    return report(store, drift, batch=profile, reference=reference, model='late', dataset='flights')


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    "One server for all tests; each finds the project anew."
    root = tmp_path_factory.mktemp('project')
    (root / 'settings.ini').write_text(SETTINGS)
    with jupyter(root) as running:
        yield running


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    "Half a year that is alike, and a July in which two columns changed."
    for path in server.root.iterdir():
        if not path.name.startswith('.jupyter-'):  # the server's own
            path.unlink() if path.is_file() else shutil.rmtree(path)
    (server.root / 'settings.ini').write_text(SETTINGS)
    store = open_store(load_settings(server.root))
    for number in range(1, 7):
        arrive(store, number)
    arrive(store, 7, letters='ab', shift=400)
    yield store
    store.engine.dispose()


def fill(
    one: Person, action: str, why: str, *, columns: tuple[str, ...] = (), until: date | None = None
) -> None:
    "Fill the form in, and send it."
    page = one.page
    page.locator(f'#action-{action}').check()
    for name in columns:
        page.get_by_label(name, exact=True).check()
    if until:
        page.locator('#until').fill(str(until))
    page.locator('#why').fill(why)
    page.get_by_role('button', name='Decide').click()


# --- deciding, and its effect


def test_a_person_walks_from_the_open_report_through_the_decisions_and_sees_each_count(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, server, 'grace') as grace:
        page, model = grace.page, store.settings.model('late')
        expect(page.get_by_role('heading', level=1)).to_have_text('1 open case')
        page.get_by_role('link', name='late 2013-07').click()
        expect(page.get_by_role('heading', level=1)).to_contain_text('2 of 2 columns drifted in 2013-07')

        fill(grace, 'watch', 'is it the schedule?', until=DAY)
        expect(page.get_by_role('status')).to_contain_text(f'watch until {DAY}, grace')
        assert cases(store)[0].state == 'watched' and cases(store, on=DAY)[0].state == 'open'

        fill(grace, 'investigate', 'where is c?', columns=('carrier',))
        expect(page.locator('#decide')).to_contain_text('reviews/late-2013-07.ipynb')
        assert "rows[['carrier']]" in ' '.join(notebook_cells(server.root / 'reviews' / 'late-2013-07.ipynb'))

        fill(grace, 'mute', 'two carriers merged', columns=('carrier',), until=DAY)
        expect(page.get_by_role('status')).to_contain_text('mute carrier until')
        assert muted(store, 'late') == ('carrier',)
        assert arrive(store, 8, letters='ab', shift=400).drift.drifted == ('distance',)

        fill(grace, 'accept', 'the summer schedule')
        expect(page.get_by_role('status')).to_contain_text('accept')
        assert '2013-07' in reference_batches(store, model)
        assert arrive(store, 9, letters='ab', shift=400).drift.drifted == ()

        fill(grace, 'bad-data', 'minutes for hours')
        expect(page.get_by_role('status')).to_contain_text('bad-data')
        assert '2013-07' not in reference_batches(store, model)
        assert '2013-07' not in load(store, 'flights@latest').batches

        fill(grace, 'reopen', 'it was hours after all')
        expect(page.get_by_role('status')).to_contain_text('reopen')
        assert '2013-07' in load(store, 'flights@latest').batches and muted(store, 'late') == ()
        made = decisions(store)
        assert made['action'].tolist()[::-1] == [
            'watch',
            'investigate',
            'mute',
            'accept',
            'bad-data',
            'reopen',
        ]
        assert set(made['who']) == {'grace'} and verify(store).broken_at is None
        page.goto(f'{server.url}mlops-nb/report/{find_report(store, "late", "2013-08").id}')
        expect(page.locator('.mnb-columns')).to_contain_text('muted')
        assert grace.complaints == [] and grace.elsewhere == []


def test_retraining_starts_the_flow_on_the_proposed_window_and_rolling_back_moves_the_alias(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
    mlops: Run,
) -> None:
    from sklearn.linear_model import LogisticRegression

    from mlops_nb.models import evaluate, load_version, promote, register

    say = 'from mlops_nb import step\n'
    write_notebook(
        server.root / 'features.ipynb',
        cell("until: str = ''  # the last batch", 'parameters'),
        cell(
            f"{say}names = step.load('flights@latest').batches\n"
            'step.save(learnt=[n for n in names if n <= until])'
        ),
    )
    write_notebook(server.root / 'train.ipynb', cell(f'{say}step.log(batches=len(step.load("learnt")))'))
    write_notebook(server.root / 'validate.ipynb', cell(f'{say}print("learnt", step.load("learnt"))'))
    for coefficient in 0.0, 1.0:
        metrics = {'roc_auc': 0.8}
        fitted = LogisticRegression().fit([[coefficient], [2.0]], [0, 1])
        gates = evaluate(store.settings, 'late', metrics)
        register(store, 'late', fitted, metrics=metrics, gates=gates)
    promote(store, 'late@1', 'champion', why='the first')
    promote(store, 'late@2', 'champion', why='the second')
    with person(chromium, server, 'grace') as grace:
        page = grace.page
        page.get_by_role('link', name='late 2013-07').click()
        fill(grace, 'rollback', 'worse since July')
        expect(page.get_by_role('alert')).to_contain_text('grace may not promote')
        expect(page.locator('#why')).to_have_value('worse since July')
        assert decisions(store).empty and load_version(store, 'late@champion').version == 2
    with person(chromium, server, 'ada') as ada:
        page = ada.page
        page.get_by_role('link', name='late 2013-07').click()
        fill(ada, 'rollback', 'worse since July')
        expect(page.get_by_role('status')).to_contain_text('rollback')
        assert load_version(store, 'late@champion').version == 1
        fill(ada, 'retrain', 'the old one is too old')
        expect(page.locator('#decide')).to_contain_text('reviews/late-2013-07-train-2.log')
        started = entries(store, 'report:1')[-1]
        assert started.details['arguments'] == ['--until', '2013-07']
        log = server.root / 'reviews' / 'late-2013-07-train-2.log'
        until('the flow has ended', lambda: 'Done!' in log.read_text(), 120)
        (run,) = json.loads(mlops('runs', 'list', '--json', folder=server.root).stdout)
        assert (run['status'], run['metrics.batches']) == ('done', 7)


def test_in_jupyterlab_a_tile_opens_the_review_and_a_prepared_notebook_opens_beside_it(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, server, 'ada', viewport={'width': 1300, 'height': 900}) as ada:
        ada.page.goto(f'{server.url}lab')
        ada.page.locator('.jp-LauncherCard', has_text='Drift review').click()
        frame = ada.page.frame_locator('#mlops-nb-review iframe')
        frame.get_by_role('link', name='late 2013-07').click()
        frame.locator('#action-investigate').check()
        frame.locator('#why').fill('where is c?')
        frame.get_by_role('button', name='Decide').click()
        frame.get_by_role('link', name='reviews/late-2013-07.ipynb').click()
        expect(ada.page.locator('.jp-NotebookPanel')).to_contain_text('Why did late')
        expect(ada.page.get_by_role('tab', name='Drift review')).to_be_visible()
    assert decisions(store)['action'].tolist() == ['investigate']


def test_the_second_of_two_people_is_shown_what_the_first_decided_and_loses_no_word(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, server, 'ada') as ada, person(chromium, server, 'grace') as grace:
        for one in ada, grace:
            one.page.get_by_role('link', name='late 2013-07').click()
        fill(ada, 'accept', 'it is the summer schedule')
        expect(ada.page.get_by_role('status')).to_be_visible()
        fill(grace, 'watch', 'let us wait', until=DAY)
        expect(grace.page.get_by_role('alert')).to_contain_text('it is the summer schedule')
        expect(grace.page.locator('#why')).to_have_value('let us wait')
        assert len(decisions(store)) == 1
        grace.page.get_by_role('button', name='Decide').click()  # she has seen it now
        expect(grace.page.get_by_role('status')).to_contain_text('watch')
    assert decisions(store)['who'].tolist() == ['grace', 'ada']


def test_who_has_not_the_right_may_look_and_cannot_decide_by_any_way(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, server, 'eve') as eve:
        eve.page.get_by_role('link', name='late 2013-07').click()
        expect(eve.page.locator('#decide')).to_contain_text('eve may look, and may not decide')
        expect(eve.page.get_by_role('button', name='Decide')).to_have_count(0)
    for path in 'decide', 'notebook':
        status, text = server.get(
            f'mlops-nb/report/1/{path}', who='eve', data=b'action=accept&why=x&after=0&step=drift'
        )
        assert status in (403, 404) and 'Decided.' not in text
    assert decisions(store).empty and [entry.action for entry in entries(store, 'report:1')] == ['report']


# --- nobody else gets in

PATHS = '', 'report/1', 'report/1/profile', 'report/1/run', 'report/1.csv'


def test_who_is_not_logged_in_gets_nothing(store: Store, server: Server) -> None:
    for path in PATHS:
        status, text = server.get(f'mlops-nb/{path}')
        assert status == 302 and text == '', path
    for path in 'decide', 'notebook':
        assert server.get(f'mlops-nb/report/1/{path}', data=b'action=accept&why=x')[0] in (302, 403)
    assert server.get('mlops-nb/', who='Mallory99')[0] in (302, 403)
    assert decisions(store).empty


def test_a_form_of_another_site_is_refused_though_the_person_is_logged_in(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, server, 'ada') as ada:
        url = f'{server.url}mlops-nb/report/1/decide'
        form = {'action': 'accept', 'why': 'x', 'after': '0'}
        assert ada.context.request.post(url, form=form).status in (403, 404)
        fields = '<input name=action value=accept><input name=why value=x>'
        other = f'<form method=post action="{url}">{fields}</form>'
        ada.page.route(
            'http://other.example/', lambda route: route.fulfill(body=other, content_type='text/html')
        )
        ada.page.goto('http://other.example/')
        with ada.page.expect_navigation():
            ada.page.evaluate('document.forms[0].submit()')
    assert decisions(store).empty


def test_a_server_without_a_login_shows_nothing(store: Store) -> None:
    with jupyter(store.settings.root, '--IdentityProvider.token=', people=False) as server:
        for path in PATHS:
            status, text = server.get(f'mlops-nb/{path}')
            assert status == 403 and 'distance' not in text, path


def test_on_a_persons_own_server_the_person_of_the_settings_decides(store: Store) -> None:
    with jupyter(store.settings.root, '--IdentityProvider.token=mine', people=False) as server:
        headers = {'Authorization': 'token mine'}
        assert server.get('mlops-nb/', **headers)[0] == 200
        form = b'action=accept&why=the+schedule&after=0'
        assert server.get('mlops-nb/report/1/decide', data=form, **headers)[0] == 303
    assert decisions(store)['who'].tolist() == ['ada']


@pytest.mark.parametrize(
    ('form', 'status', 'says'),
    [
        ('', 400, 'found the decision'),
        ('action=acept&why=x', 400, 'Did you mean'),
        ('action=accept&why=', 400, 'a reason to accept'),
        ('action=mute&why=x&until=2013-01-01&about=carrier', 400, 'expected a day after today'),
        ('action=mute&why=x&until=soon&about=carrier', 400, 'expected a day such as'),
        ('action=accept&why=x&since=1999', 404, 'found no batch'),
        ('action=accept&why=x&after=7', 409, 'found no decision 7'),
        ('action=accept&why=%3Cscript%3Ealert(1)%3C/script%3E&after=x&about=nothing', 404, 'found no column'),
    ],
)
def test_what_is_no_decision_comes_back_with_the_reason(
    form: str, status: int, says: str, own: Server
) -> None:
    found, text = own.get('mlops-nb/report/1/decide', who='ada', data=form.encode())
    assert (found, says in text, '<script' in text) == (status, True, False)


@pytest.fixture(scope='module')
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    "A server that several tests share, since none of them changes anything."
    root = tmp_path_factory.mktemp('own')
    (root / 'settings.ini').write_text(SETTINGS)
    store = open_store(load_settings(root))
    for number in range(1, 7):
        arrive(store, number)
    arrive(store, 7, letters='ab')
    hostile_report(store)
    store.engine.dispose()
    with jupyter(root) as running:
        yield running


@pytest.mark.parametrize(
    'path', ['report/99', 'report/99/profile', 'report/1/run', 'report/x', 'report/1/nothing']
)
def test_what_is_not_there_is_said_plainly(path: str, own: Server) -> None:
    status, text = own.get(f'mlops-nb/{path}', who='ada')
    assert status == 404 and 'Traceback' not in text


# --- many columns


@pytest.mark.parametrize(('columns', 'length'), [(500, 12), (500, 900)])
def test_of_however_many_columns_that_drifted_each_can_be_chosen(
    columns: int, length: int, store: Store, server: Server
) -> None:
    names = [f'column {number:03} '.ljust(length, 'x') for number in range(columns)]
    months = []
    for number in range(7):
        values = np.random.default_rng(number).normal(0, 1, 60) + 90 * (number == 6)
        table = pa.table(dict.fromkeys(names, values))
        months.append(profile_table(table, metadata={'batch': f'2020-{number + 1:02}'}))
        save_profile(store, months[-1], dataset='wide', batch=months[-1].metadata['batch'])
    drift = compare(months[6], months[:6])
    assert len(drift.drifted) == columns
    kept = report(store, drift, batch=months[6], reference=months[:6], model='late', dataset='wide')
    path = f'mlops-nb/report/{kept.id}'
    status, page = server.get(path, who='ada')
    listed = {html.unescape(name) for name in re.findall('name="about" value="([^"]+)"', page)}
    assert status == 200 and len(page.encode()) < 1_000_000
    assert listed == {*names} if length < 100 else len(listed) > 20
    assert ('are not listed here' in page) == (len(listed) < columns)
    last = names[-1]
    form = {'action': 'accept', 'why': 'a new sensor', 'after': 0, 'about': [names[0], last[:-1], '']}
    status, page = server.get(f'{path}/decide', who='ada', data=urlencode(form, doseq=True).encode())
    assert status == 404 and 'Did you mean' in page and last[-30:] in page
    form['about'] = [names[0], last, '']
    status, page = server.get(f'{path}/decide', who='ada', data=urlencode(form, doseq=True).encode())
    assert status == 303 and find_report(store, 'late', '2020-07').decisions[0].about == (names[0], last)


# --- hostile names

HOSTILE = (
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    '=cmd|"/C calc"!A0',
    '@SUM(1+9)*cmd',
    '\t=1+1',
    '-2+3',
    '\x00\x1b[31m\u202eevil',
    '</style><style>*{display:none}',
    '{{ 7 * 7 }}',
    'x' * 3000,
)


def hostile_report(store: Store) -> Report:
    "A report on columns and values that would like to be more than text."
    rng = np.random.default_rng(0)

    def batch(number: int, values: tuple[str, ...]) -> Profile:
        table = {name: rng.choice(values, 200) for name in HOSTILE}
        return profile_table(pa.table(table), metadata={'batch': f'<b>{number}</b>'})

    months = [batch(number, HOSTILE[:3]) for number in range(6)]
    last = batch(9, HOSTILE[3:])
    for one in [*months, last]:
        save_profile(store, one, dataset='<i>flights', batch=one.metadata['batch'])
    drift = compare(last, months)
    return report(store, drift, batch=last, reference=months, model='late', dataset='<i>flights')


def test_hostile_names_run_nothing_fetch_nothing_and_fit_on_a_phone(
    own: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, own, 'ada', viewport={'width': 360, 'height': 740}) as ada:
        for path in 'mlops-nb/', 'mlops-nb/report/2', 'mlops-nb/report/2/profile':
            ada.page.goto(own.url + path)
            wide = ada.page.evaluate('document.documentElement.scrollWidth')
            assert wide <= 360, (path, wide)
        assert ada.page.locator('h1').first.is_visible()
        assert ada.complaints == [] and ada.elsewhere == []


def test_no_cell_of_the_spreadsheet_begins_a_formula(own: Server) -> None:
    import csv
    import io

    status, text = own.get('mlops-nb/report/2.csv', who='ada')
    table = list(csv.reader(io.StringIO(text)))
    assert status == 200 and len(table) == 1 + len(HOSTILE)
    numbers = {'p', 'distance', 'usual', 'missing before', 'missing now', 'importance'}
    for line in table[1:]:
        for name, value in zip(table[0], line, strict=True):
            assert name in numbers or value[:1] not in ('=', '+', '-', '@', '\t'), (name, value)


def test_a_browser_is_told_to_let_a_page_do_nothing_but_send_its_form_back(own: Server) -> None:
    import urllib.request

    for path in 'mlops-nb/', 'mlops-nb/report/1':
        asked = urllib.request.Request(own.url + path, headers={'Authorization': 'token token-of-ada'})
        with urllib.request.urlopen(asked, timeout=300) as answer:
            policy, page = answer.headers['Content-Security-Policy'], answer.read().decode()
        assert "default-src 'none'" in policy and "form-action 'self'" in policy and 'unsafe' not in policy
        assert '<script' not in page and ' style="' not in page and ' on' not in policy


# --- for everybody


def test_everything_can_be_done_from_the_keyboard(
    store: Store,
    server: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, server, 'ada') as ada:
        ada.page.get_by_role('link', name='late 2013-07').focus()
        ada.page.keyboard.press('Enter')
        expect(ada.page.locator('#decide')).to_be_visible()
        for _ in range(60):
            ada.page.keyboard.press('Tab')
            if ada.page.evaluate('document.activeElement.name') == 'action':
                break
        ada.page.keyboard.press('Space')
        for key in 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowUp':
            ada.page.keyboard.press(key)
        while ada.page.evaluate('document.activeElement.name') != 'why':
            ada.page.keyboard.press('Tab')
        ada.page.keyboard.type('seen')
        ada.page.keyboard.press('Tab')
        ada.page.keyboard.press('Enter')
        # mute without a column: the reason comes back, and is read out
        expect(ada.page.get_by_role('alert')).to_contain_text('found nothing to mute')


def test_every_picture_says_what_it_shows_and_every_field_has_a_name(
    own: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    with person(chromium, own, 'ada') as ada:
        ada.page.goto(f'{own.url}mlops-nb/report/1')
        nameless = ada.page.evaluate(
            """[...document.querySelectorAll('input:not([type=hidden]), select, textarea, svg')].filter(
            e => !(e.labels?.length || e.getAttribute('aria-label') || e.ariaHidden)).length"""
        )
        levels = ada.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
        assert nameless == 0 and levels[0] == 1 and levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))


def test_a_page_is_readable_in_the_dark_and_takes_jupyterlabs_theme(
    own: Server,
    chromium: Browser,  # noqa: F811
) -> None:
    def colours(one: Person) -> tuple[str, str]:
        script = 'e => [getComputedStyle(e).backgroundColor, getComputedStyle(document.body).color]'
        return tuple(one.page.locator('html').evaluate(script))  # type: ignore[return-value]

    seen = {}
    for scheme in 'light', 'dark':
        with person(chromium, own, 'ada', color_scheme=scheme) as ada:
            ada.page.goto(f'{own.url}mlops-nb/report/1')
            seen[scheme] = colours(ada)
            for other in 'true', 'false':
                ada.page.evaluate(
                    'v => [document.documentElement, document.body].map(e => e.dataset.jpThemeLight = v)',
                    other,
                )
                seen[scheme, other] = colours(ada)
    assert seen['light'] != seen['dark']
    assert seen['light', 'false'] == seen['dark', 'false'] == seen['dark']
    assert seen['light', 'true'] == seen['dark', 'true'] == seen['light']


def test_a_decided_report_stays_decided_when_its_form_is_sent_twice(store: Store, server: Server) -> None:
    form = b'action=accept&why=the+schedule&after=0'
    assert [server.get('mlops-nb/report/1/decide', who='ada', data=form)[0] for _ in range(2)] == [303, 303]
    assert len(decisions(store)) == 1
    grace = replace(store.settings, user='grace')
    decide(store, grace, 1, 'reopen', why='wait', after=1)
    assert server.get('mlops-nb/report/1/decide', who='ada', data=form)[0] == 409
