"""The review from a terminal, and the comparison in a build."""

from __future__ import annotations

import html
import json
import shlex
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.csv  # pa.csv
import pytest
from browser import until
from databases import new_project
from months import MONTHS, arrive
from orders import HISTORY, MOVED, NORMAL
from small import Run, cell, write_notebook

from mlops_nb.core import RefusedError
from mlops_nb.data import load
from mlops_nb.drift import cases, compare, decide, decisions, find_report, load_report, muted, report
from mlops_nb.drift.case import refuse_open
from mlops_nb.drift.decision import marked
from mlops_nb.jupyter.pages import Visit, list_page, report_page
from mlops_nb.profiles import Profile, profile_table, save_profile
from mlops_nb.review import act
from mlops_nb.review.actions import carry_out
from mlops_nb.store import Store, entries, open_store, verify

SOON = date.today() + timedelta(days=9)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(new_project(tmp_path))
    for one in MONTHS:
        save_profile(store, one, dataset='flights', batch=one.metadata['batch'])
    arrive(store, 7), arrive(store, 8)
    return store


def test_a_person_finds_what_is_open_looks_and_decides(store: Store, mlops: Run) -> None:
    root = store.settings.root
    done = mlops('review', folder=root)
    assert done.returncode == 0 and 'Next: mlops-nb review show late 2013-08' in done.stdout, done.stderr
    assert done.stdout.count('customer') == 1  # two reports, one case
    done = mlops('review', 'show', 'late', '2013-08', folder=root)
    for words in 'Is something wrong?', 'Since when?', 'The same cause since 2013-07', 'Nobody has decided':
        assert words in done.stdout
    done = mlops('review', 'page', 'late', '2013-08', '--folder', 'pages', folder=root)
    assert '<svg' in (root / 'pages' / 'late-2013-08.html').read_text(), done.stderr
    command = 'review', 'mute', 'late', '2013-08', '--column', 'customer', '--why', 'they merged'
    done = mlops(*command, folder=root)
    assert done.returncode == 2 and 'found no day to mute' in done.stderr and decisions(store).empty
    done = mlops(*command, '--until', SOON, folder=root)
    assert done.returncode == 0 and muted(store, 'late') == ('customer',), done.stderr
    done = mlops('review', 'accept', 'late', '2013-08', '--why', 'so it is', folder=root)
    assert done.returncode == 1 and '--after 1' in done.stderr and 'they merged' in done.stderr
    done = mlops('review', 'accept', 'late', '2013-08', '--why', 'so it is', '--after', '1', folder=root)
    assert done.returncode == 0 and 'Nothing is open' in mlops('review', folder=root).stdout
    table = json.loads(mlops('review', 'decisions', '--json', folder=root).stdout)
    assert [one['action'] for one in table] == ['accept', 'mute']
    done = mlops('review', 'list', '--all', '--json', folder=root)
    assert [one['state'] for one in json.loads(done.stdout)] == ['decided']


def test_a_batch_of_bad_data_is_mended_by_the_commands_that_the_pages_name(store: Store, mlops: Run) -> None:
    folder = store.settings.root
    pa.csv.write_csv(pa.table({'distance': [1.0]}), folder / 'broken.csv')
    pa.csv.write_csv(pa.table({'distance': [900.0]}), folder / 'FILE')
    assert (
        mlops('data', 'commit', 'flights', 'broken.csv', '--batch', '2013-07', folder=folder).returncode == 0
    )
    kept = find_report(store, 'late', '2013-07')
    done = mlops('review', 'bad-data', 'late', '2013-07', '--why', 'minutes for hours', folder=folder)
    listed = mlops('data', 'quarantine', 'list', folder=folder).stdout
    page = find_report(store, 'late', '2013-07').html
    made = decisions(store).iloc[0]
    (one,) = marked(store, 'flights')
    assert one.id == made['id'] and len(one.mending) == 2
    for line in one.mending:
        assert line in done.stdout and line in listed and html.escape(line) in page
        ran = mlops(*shlex.split(line)[1:], folder=folder)
        assert ran.returncode == 0, ran.stderr
    assert marked(store) == () and kept.id == find_report(store, 'late', '2013-07').id
    assert 'until it is mended: <code>' not in find_report(store, 'late', '2013-07').html
    assert load(store, 'flights@latest').pandas()['distance'].tolist() == [900.0]
    assert 'bad data' not in mlops('data', 'quarantine', 'list', folder=folder).stdout


TRAINS = 'from pathlib import Path\nif Path({!r}).exists():\n    raise ValueError("no memory left")'


def trainable(store: Store) -> Path:
    "A project whose training fails while a file is there; the file."
    folder = store.settings.root
    stop = folder / 'stop'
    settings = (folder / 'settings.ini').read_text()
    notebooks = 'features = nothing.ipynb\ntrain = train.ipynb\nvalidate = nothing.ipynb\n'
    (folder / 'settings.ini').write_text(
        settings.replace('dataset = flights\n', f'dataset = flights\n{notebooks}')
    )
    write_notebook(folder / 'nothing.ipynb', cell('1'))
    write_notebook(folder / 'train.ipynb', cell(TRAINS.format(str(stop))))
    stop.touch()
    return stop


def test_a_retraining_that_fails_leaves_the_case_open_and_the_same_decision_starts_it_again(
    store: Store, mlops: Run
) -> None:
    stop, folder = trainable(store), store.settings.root
    command = 'review', 'retrain', 'late', '2013-08', '--why', 'the winter schedule'
    done = mlops(*command, folder=folder)
    assert done.returncode == 1 and 'the case stays open' in done.stdout, done.stdout + done.stderr
    listed, page = mlops('review', folder=folder).stdout, find_report(store, 'late', '2013-08').html
    (run,) = json.loads(mlops('runs', 'list', '--json', folder=folder).stdout)
    failed = f'exit code 1 in run {run["run"]}; look at it: mlops-nb runs show {run["run"]}'
    assert (
        'late' in listed
        and 'Nothing is open' not in listed
        and f'Not carried out:</span> <bdi>the flow train ended with {failed}' in page
    )
    assert failed in mlops('review', 'show', 'late', '2013-08', folder=folder).stdout
    strict = replace(store.settings, decision_required=True)
    with pytest.raises(RefusedError, match='open drift report'):
        refuse_open(store, strict, 'late')
    stop.unlink()
    done = mlops(*command, folder=folder)
    assert done.returncode == 0 and 'has trained' in done.stdout, done.stdout + done.stderr
    assert 'Nothing is open' in mlops('review', folder=folder).stdout
    assert 'Not carried out' not in find_report(store, 'late', '2013-08').html
    done = mlops(*command, folder=folder)
    assert done.returncode == 0 and 'carried out before' in done.stdout
    runs = json.loads(mlops('runs', 'list', '--json', folder=folder).stdout)
    assert sorted(one['status'] for one in runs) == ['done', 'failed'] and len(decisions(store)) == 1
    assert [one.action for one in entries(store, 'report:2')][-4:] == [
        'retrain',
        'carry out',
        'fail',
        'carry out',
    ]
    assert verify(store).whole


def test_a_retraining_that_cannot_start_decides_nothing(store: Store, mlops: Run) -> None:
    trainable(store).unlink()
    folder = store.settings.root
    (folder / 'pyproject.toml').write_text('[project]\nname = "late"\n[tool.nbdev]\nnbs_path = "."\n')
    write_notebook(folder / 'nothing.ipynb', cell('#| default_exp features'), cell('#| export\ndays = 7'))
    command = 'review', 'retrain', 'late', '2013-08', '--why', 'the winter schedule'
    done = mlops(*command, folder=folder)
    assert done.returncode == 2 and 'nbdev-export' in done.stderr, done.stdout + done.stderr
    assert decisions(store).empty and cases(store)[0].state == 'open'
    (folder / 'pyproject.toml').unlink()
    done = mlops(*command, folder=folder)
    assert done.returncode == 0 and 'has trained' in done.stdout, done.stdout + done.stderr


def test_a_training_that_nobody_waits_for_opens_the_case_again_where_it_fails(store: Store) -> None:
    trainable(store)
    number = find_report(store, 'late', '2013-08').id
    outcome = act(store, store.settings, number, 'retrain', why='the winter schedule')
    assert outcome.code == 0 and 'was started' in outcome.text
    until('the failure is noted', lambda: bool(load_report(store, number).decisions[0].failed), 120)
    visit = Visit(store.settings, made=outcome.decision.id)
    shown = report_page(store, number, visit)
    assert (
        'role="alert"><p><strong>Not carried out.</strong> <bdi>the flow train ended with exit code 1'
        in shown
    )
    assert '1 open case<' in list_page(store, visit)
    logs = [*(store.settings.root / 'reviews').glob('*.log')]
    assert ['no memory left' in log.read_text() for log in logs] == [True]


def test_a_roll_back_that_is_refused_leaves_the_case_open(store: Store) -> None:
    number = find_report(store, 'late', '2013-08').id
    made = decide(store, store.settings, number, 'rollback', why='worse since July')
    outcome = carry_out(store, store.settings, made)
    assert outcome.code == 1 and 'Not carried out: ' in outcome.text
    assert cases(store)[0].state == 'open' and cases(store)[0].decision.failed in outcome.text


def test_what_is_not_there_or_cannot_be_is_one_sentence(store: Store, mlops: Run) -> None:
    for words, says in (
        (('show', 'late', '2013-09'), 'found no drift report'),
        (('accept', 'late', '2013-09', '--why', 'x'), 'found no drift report'),
        (('watch', 'late', '2013-08', '--why', 'x', '--until', 'soon'), 'expected a day such as'),
        (('rollback', 'late', '2013-08', '--why', 'x'), 'no earlier version'),
        (('notebook', 'late', '2013-08'), 'was made by hand'),
    ):
        done = mlops('review', *words, folder=store.settings.root)
        assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr
    assert decisions(store).empty


# --- in a build


def test_a_build_fails_on_what_it_was_told_to_and_says_why_to_machines_and_people(
    tmp_path: Path, mlops: Run
) -> None:
    for name, frame in ('history', HISTORY), ('moved', MOVED), ('normal', NORMAL):
        frame.to_parquet(tmp_path / f'{name}.parquet')

    def check(name: str, fail_on: str) -> int:
        command = 'drift', 'check', f'{name}.parquet', '--against', 'history.parquet', '--time', 'created_at'
        files = '--every', 'week', '--junit', 'drift.xml', '--markdown', 'drift.md', '--fail-on', fail_on
        return mlops(*command, *files, folder=tmp_path).returncode

    assert check('moved', 'drift') == 1
    suite = ElementTree.parse(tmp_path / 'drift.xml').getroot()[0]
    failed = [case.get('name') for case in suite if case.find('failure') is not None]
    assert failed == ['amount'] and suite.get('failures') == '1' and suite.get('tests') == str(len(suite))
    text = (tmp_path / 'drift.md').read_text()
    assert text.startswith('### 1 of 2 columns drifted') and '| amount | ▲ drift |' in text
    assert check('moved', 'never') == 0
    assert ElementTree.parse(tmp_path / 'drift.xml').getroot()[0].get('failures') == '0'
    assert check('normal', 'drift') == 0
    assert check('moved', 'sometimes') == 2


HOSTILE = '=cmd|x', '<script>', '![a](http://b)', '| c |', '`d` @all', '\x00\x1b[31m', 'e\nf', ']]>&'


def test_hostile_names_stay_text_in_xml_and_markdown() -> None:
    from markdown_it import MarkdownIt

    from mlops_nb.drift.export import junit, markdown

    def batch(value: object, name: str) -> Profile:
        return profile_table(pa.table({n: [value] * 50 for n in HOSTILE}), metadata={'batch': name})

    drift = compare(batch('text', '<b>9'), [batch(1.0, f'{k}') for k in range(5)])  # a change of type
    cases = ElementTree.fromstring(junit(drift)).findall('.//testcase')
    assert len(cases) == len(HOSTILE)
    html = MarkdownIt('commonmark').enable('table').render(markdown(drift))
    assert [tag for tag in ('<script', '<img', '<a ', '<code', '<b>') if tag in html] == []
    assert (html.count('<tr>'), html.count('<td>')) == (1 + len(HOSTILE), 4 * len(HOSTILE))


def test_three_rows_are_a_page_that_says_that_nobody_can_tell(tmp_path: Path) -> None:
    store = open_store(new_project(tmp_path))
    tiny, *before = (
        profile_table(pa.table({'x': [1.0, 2.0, 3.0]}), metadata={'batch': name})
        for name in ('b', 'a1', 'a2')
    )
    kept = report(store, compare(tiny, before), batch=tiny, reference=before, model='late', dataset='flights')
    assert kept.drift.drifted == () and 'Not calibrated' in kept.html and 'Yes' not in kept.html
