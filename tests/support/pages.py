"""What a browser would make of a page, and that nothing in it does harm."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Seen(HTMLParser):
    "What a browser would make of a page: its elements, their attributes, and the text."

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ''
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or '') for name, value in attrs]
        if tag not in ('meta', 'link', 'br', 'hr', 'img', 'col', 'wbr'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f'</{tag}> closes something else'

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != 'style':
            self.text += data


def assert_harmless(page: str) -> Seen:
    "Nothing runs, nothing is fetched, everything that is opened is closed."
    seen = Seen(page)
    assert seen.open == []
    assert not {'script', 'iframe', 'object', 'embed', 'form', 'base', 'foreignobject'} & set(seen.tags)
    for tag, name, value in seen.attributes:
        assert not name.startswith('on'), (tag, name, value)
        if name in ('src', 'data', 'poster', 'srcset') or (tag == 'link' and name == 'href'):
            assert value.startswith('data:'), (tag, name, value)
        elif name.endswith('href'):
            assert re.match('#|https?://|mailto:' if tag == 'a' else '#', value), (tag, name, value)
        elif name == 'style':
            assert 'url' not in value, (tag, name, value)
            assert 'position' not in value, (tag, name, value)
    return seen
