"""Document: what is written is what was meant, in Markdown and in HTML."""

from pathlib import Path

from sparkds.document import Bullets, Heading, Paragraph, Picture, Table, html, markdown

BLOCKS = [Heading("A *title*", 1), Paragraph("not final", strong=True), Bullets(["a_b", "x\ny"]), Table(["m|n", "n"], [["<b>", "1"]])]


def test_markdown_keeps_every_character_of_a_text_a_text():
    told = markdown([*BLOCKS, Picture("ROC", "roc.png")])
    assert told.split("\n\n") == [
        "# A \\*title\\*",
        "**not final**",
        "- a\\_b\n- x y",
        "| m\\|n | n |\n| --- | --- |\n| \\<b\\> | 1 |",
        "![ROC](roc.png)\n",
    ]


def test_html_is_one_page_with_its_pictures_inside(tmp_path):
    (tmp_path / "roc.png").write_bytes(b"\x89PNG")
    told = html("R&D", [*BLOCKS, Picture('the "curve"', "roc.png")], tmp_path)
    assert "<title>R&amp;D</title>" in told
    assert "<td>&lt;b&gt;</td>" in told
    assert '<img alt="the &quot;curve&quot;" src="data:image/png;base64,iVBORw==">' in told
    assert "roc.png" not in told


def test_html_without_pictures_reads_no_folder():
    assert html("t", BLOCKS, Path("nowhere")).count("<h1>") == 1
