"""Every relative link of the Markdown files leads to a file, and to a heading in it where it names one."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (".github", "benchmarks", "config", "docs", "examples")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.DOTALL | re.MULTILINE)
LINK = re.compile(r'\]\(\s*<?([^)\s>]+)|(?:href|src)="([^"]+)"|^\[[^\]]+\]:\s+(\S+)', re.MULTILINE)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(FENCED, "", text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page, and those that the page names itself."""
    outside = re.sub(FENCED, "", text)
    found = set(re.findall(r'<\w+ (?:id|name)="([^"]+)"', outside))
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.*?)[ #]*$", outside, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    faults = []
    for groups in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        link = next(filter(None, groups))
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            faults.append(f"{link}: there is no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            faults.append(f"{link}: there is no such heading")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '# One: two\n[a](#one-two) [b](#three) [c](gone.md) [d](page.md#four) <img src="gone.png"> '
        "[e](https://example.org)\n```\n[f](code.md)\n# five\n```\n[g](#five)\n"
    )
    assert [fault.split(":")[0] for fault in broken(page)] == [
        "#three", "gone.md", "page.md#four", "gone.png", "#five",
    ]  # fmt: skip
