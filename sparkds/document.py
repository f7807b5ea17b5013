"""Document: headings, paragraphs, lists, tables and pictures, written as Markdown or as one HTML page that needs nothing beside it.

Takes blocks and gives text; every text is plain, so that a value cannot become markup.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#1b263b;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "td,th{border-bottom:1px solid #d8dee9;padding:.25rem .7rem;text-align:left;vertical-align:top}"
    "th{border-bottom:2px solid #8d99ae}figure{margin:1.5rem 0}img{max-width:100%}figcaption{color:#56637a}"
)
MARKUP: Final = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})


@dataclass(frozen=True)
class Heading:
    """Heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Some sentences; strong for what must not be missed."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """List of short texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under heads."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """Picture file, beside the document."""

    caption: str
    file: str


Block = Heading | Paragraph | Bullets | Table | Picture


def markdown(blocks: Sequence[Block]) -> str:
    """Blocks as Markdown (with the tables of GitHub's dialect); pictures by their file names.

    Examples
    --------
    >>> print(markdown([Heading("Gates"), Table(["gate", "status"], [["auc", "pass"]])]), end="")
    ## Gates
    <BLANKLINE>
    | gate | status |
    | --- | --- |
    | auc | pass |
    """
    return "\n\n".join(_as_markdown(block) for block in blocks) + "\n"


def html(title: str, blocks: Sequence[Block], folder: Path) -> str:
    """Blocks as one HTML page, with the PNG pictures of a folder inside.

    Examples
    --------
    >>> "<td>a &lt; b</td>" in html("t", [Table(["x"], [["a < b"]])], Path())
    True
    """
    body = "\n".join(_as_html(block, folder) for block in blocks)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _as_markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Paragraph(text, strong):
            return f"**{_plain(text)}**" if strong else _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Table(heads, rows):
            lines = [[_plain(head) for head in heads], ["---"] * len(heads), *([_plain(cell) for cell in row] for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Picture(caption, file):
            return f"![{_plain(caption)}]({file})"


def _plain(text: str) -> str:
    return text.replace("\n", " ").translate(MARKUP)


def _as_html(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text, strong):
            return f"<p><strong>{escape(text)}</strong></p>" if strong else f"<p>{escape(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Table(heads, rows):
            head = "".join(f"<th>{escape(text)}</th>" for text in heads)
            body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
        case Picture(caption, file):
            inside = base64.b64encode((folder / file).read_bytes()).decode()
            shown = f'<img alt="{escape(caption)}" src="data:image/png;base64,{inside}">'
            return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"
