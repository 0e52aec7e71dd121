"""The page in headless Chromium, clicked through as a reader does."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks.page.browser import browser, why_not
from eval.benchmarks.tables import ITEMS, QUESTIONS, rows_of

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def tab():
    with browser() as page:
        page.size(1300, 900)
        yield page


@pytest.fixture
def page(tab, run):
    tab.errors.clear()
    tab.requests.clear()
    tab.open(run / "page/index.html")
    yield tab
    assert tab.errors == []
    assert all(url.startswith(("file:", "about:")) for url in tab.requests)


def count(page):
    return int(page.js("document.querySelector('#count').textContent").split(" of ")[0].replace(",", ""))


def chosen(page):
    return page.js("document.querySelector('#case h3').textContent")


def choose(page, name, value):
    """Sets a field of the filters as a reader does, and waits until the list is as it says."""
    quoted = json.dumps(value)
    page.js(
        f"(() => {{ const field = document.querySelector('#filters [name=\"{name}\"]');"
        f"if (field.type === 'checkbox') field.checked = {quoted}; else field.value = {quoted};"
        "field.dispatchEvent(new Event('change')); field.dispatchEvent(new Event('input')); })()"
    )
    page.until(
        "document.querySelector('#count').dataset.filters"
        " === new URLSearchParams(new FormData(document.querySelector('#filters'))).toString()"
    )


def rows_in_sight(page):
    return page.js("document.querySelectorAll('.row').length")


def items(run):
    return {(row["label"], row["table"], row["index"]): row for row in rows_of(run / ITEMS)}


def test_all_cases_are_listed_and_only_those_in_sight_are_elements(page):
    assert count(page) == 60
    assert 10 < rows_in_sight(page) < 40
    page.js("document.querySelector('#list').scrollTop = 1e6")
    page.until("document.querySelector('.row[aria-posinset=\"60\"]')")


def test_no_text_of_a_model_runs(page, run):
    choose(page, "search", "window.broken")
    assert count(page) >= 3
    for place in range(2, count(page) + 1):
        page.key("j")
        page.until(f"document.querySelector('.row[aria-selected=true]').getAttribute('aria-posinset') === '{place}'")
        page.until(
            "document.querySelector('.row[aria-selected=true] .soft').textContent"
            ".startsWith(document.querySelector('#case h3').textContent.replace(/ #$/, ''))"
        )
        assert page.js("![...document.querySelectorAll('b')].some((one) => one.textContent === 'bold')")
    assert page.js("window.broken") is None
    assert page.js("document.querySelectorAll('img[src=\"x\"]').length") == 0


def test_filters_agree_with_the_files(page, run):
    rows = items(run)
    keys = [(row["table"], row["index"]) for row in rows_of(run / QUESTIONS)]

    def verdicts(key, rule="strict"):
        return [row[rule] for label in ("ours", "theirs") if (row := rows.get((label, *key)))]

    choose(page, "right", "0")
    assert count(page) == sum(False in verdicts(key) for key in keys)
    choose(page, "label", "all")
    assert count(page) == sum(not any(verdicts(key)) for key in keys)
    choose(page, "label", "=1")
    assert count(page) == sum(rows.get(("theirs", *key), {}).get("strict") is False for key in keys)
    choose(page, "label", "")
    choose(page, "right", "")
    choose(page, "differ", True)
    assert count(page) == sum(len(set(verdicts(key))) > 1 for key in keys)
    choose(page, "differ", False)
    choose(page, "rules", True)
    assert count(page) == sum(
        any(
            rows[label, *key]["strict"] != rows[label, *key]["official"]
            for label in ("ours", "theirs")
            if (label, *key) in rows
        )
        for key in keys
    )
    choose(page, "rules", False)
    choose(page, "table", "1")
    assert count(page) == 30
    choose(page, "table", "")
    choose(page, "low", "0.7")
    choose(page, "label", "=0")
    assert count(page) == sum((rows["ours", *key]["radrscore"] or 0) >= 0.7 for key in keys)
    page.js("[...document.querySelectorAll('#filters button')].find((one) => one.textContent === 'Reset').click()")
    page.until("document.querySelector('#count').textContent.startsWith('60 of')")


def test_filters_by_class_and_subgroup(page, run):
    questions = list(rows_of(run / QUESTIONS))
    option = page.js("[...document.querySelector('[name=class]').options].find((o) => o.text === 'Pneumothorax').value")
    choose(page, "class", option)
    assert count(page) == sum("Pneumothorax" in row["answer"] for row in questions) > 0
    choose(page, "class", "")
    option = page.js("[...document.querySelector('[name=\"about sex\"]').options].find((o) => o.text === 'F').value")
    choose(page, "about sex", option)
    assert count(page) == sum(row["about"].get("sex") == "F" for row in questions) > 0


def test_orders(page, run):
    rows = items(run)
    choose(page, "label", "=0")
    choose(page, "sort", "up radrscore")
    page.key("g")
    page.until("document.querySelector('.row[aria-selected=true]')?.getAttribute('aria-posinset') === '1'")
    lowest = min(row["radrscore"] for (label, *_), row in rows.items() if label == "ours")
    shown = page.js("document.querySelector('.row .soft').textContent").split(" · ")[-1].split()[0]
    assert float(shown) == pytest.approx(lowest, abs=0.01)


def test_keys_move_through_the_cases(page):
    first = chosen(page)
    page.key("j")
    page.until(f"document.querySelector('#case h3').textContent !== {json.dumps(first)}")
    page.key("k")
    page.until(f"document.querySelector('#case h3').textContent === {json.dumps(first)}")
    page.key("G")
    page.until("document.querySelector('.row[aria-selected=true]').getAttribute('aria-posinset') === '60'")
    page.key("/")
    assert page.js("document.activeElement.name") == "search"
    page.key("j")
    assert page.js("document.activeElement.value") == "j"
    page.key("Escape")
    choose(page, "search", "")
    page.key("?")
    assert page.js("document.querySelector('#help').open") is True
    page.js("document.querySelector('#help').close()")
    page.key("g")
    page.js("document.querySelector('#list').focus()")
    page.key("ArrowDown")
    page.until("document.querySelector('.row[aria-selected=true]').getAttribute('aria-posinset') === '2'")


def test_a_link_leads_to_its_case_past_filters(page, run):
    page.open(run / "page/index.html", "#case=l%C3%A4teral%20%26%20%3Cother%3E/12")
    assert chosen(page).startswith("läteral & <other> 12")
    choose(page, "table", "1")
    page.js("location.hash = '#case=l%C3%A4teral%20%26%20%3Cother%3E/3'")
    page.until("document.querySelector('#case h3').textContent.startsWith('läteral & <other> 3')")
    page.open(run / "page/index.html", "#case=%E0%A4%A/1")  # no address
    assert chosen(page)
    page.key("j")
    page.until("location.hash.startsWith('#case=')")


def test_the_words_behind_a_verdict_are_shown(page):
    choose(page, "search", "")
    page.key("g")
    for _ in range(count(page)):  # to a verdict that rests on words of the reference, not on a label
        page.js(
            "[...document.querySelectorAll('#case mark')]"
            ".filter(m => /says: (?!verified|nothing)/.test(m.title)).slice(0, 1).forEach(m => m.id = 'one')"
        )
        if page.js("!!document.querySelector('#one')"):
            break
        page.key("j")
    page.click("#one")
    page.until(
        "document.querySelector('#one').closest('.reading').querySelector('.why').textContent.includes('other side')"
    )
    page.until("document.querySelector('.hit')")
    reference = page.js("document.querySelector('.asked').textContent")
    assert page.js("document.querySelector('.hit').textContent") in reference


def test_boxes_lie_over_the_picture(page):
    option = page.js(
        "[...document.querySelector('[name=class]').options].find((o) => o.text === 'Pleural Effusion').value"
    )
    choose(page, "class", option)
    page.js("document.querySelector('.row').click()")
    page.until("document.querySelector('#case .film img')?.naturalWidth > 0")
    place = page.js(
        "(() => { const [film, box] = ['.film img', '.film .box.reference']"
        ".map((name) => document.querySelector(`#case ${name}`).getBoundingClientRect());"
        "return [(box.left - film.left) / film.width, (box.top - film.top) / film.height,"
        "(box.right - film.left) / film.width, (box.bottom - film.top) / film.height]; })()"
    )
    assert place == pytest.approx([0.6, 0.5, 0.9, 1.0], abs=0.01)


def test_a_picture_grows_at_a_click(page):
    page.click(".films img")
    assert page.js("document.querySelector('.films img').classList.contains('whole')")
    assert page.js("document.querySelector('.films img').naturalWidth") == 96
    page.key("Escape")
    assert not page.js("document.querySelector('.films img').classList.contains('whole')")


@pytest.mark.parametrize("width", [1300, 420])
def test_nothing_is_wider_than_the_window(page, width):
    page.size(width, 900)
    try:
        choose(page, "search", "pneumonoultramicroscopicpneumono")
        assert count(page) > 0
        wide = page.js(
            "[document.documentElement.scrollWidth, document.querySelector('#case').scrollWidth, innerWidth]"
        )
        assert max(wide[:2]) <= wide[2]
    finally:
        page.size(1300, 900)


def test_every_field_and_picture_has_a_name(page):
    unnamed = page.js(
        "[...document.querySelectorAll('input, select, button, img')]"
        ".filter((one) => !(one.labels?.length || one.alt || one.textContent.trim() || one.ariaLabel)).length"
    )
    assert unnamed == 0
    colours = page.js(
        "['right', 'wrong'].map((name) => { const e = document.createElement('span'); e.className = `sign ${name}`;"
        "document.body.append(e); return getComputedStyle(e).color; })"
    )
    assert all(contrast(colour) >= 4.5 for colour in colours)


def contrast(colour):
    """Against the page's ground (WCAG 2.1, relative luminance)."""

    def luminance(rgb):
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    rgb = [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return (luminance((245, 247, 249)) + 0.05) / (luminance(rgb) + 0.05)


def test_rollouts_can_be_watched_over_steps(tab, grpo):
    tab.errors.clear()
    tab.open(grpo / "page/index.html")
    assert count(tab) == 9
    tab.js(
        "(() => { const slide = document.querySelector('input[type=range]'); slide.value = 2;"
        "slide.dispatchEvent(new Event('input')); })()"
    )
    tab.until("document.querySelector('#count').textContent.startsWith('3 of 9')")
    assert chosen(tab).startswith("step 100")
    tab.js("[...document.querySelectorAll('#filters button')].find((one) => one.textContent === 'Reset').click()")
    tab.until("document.querySelector('#count').textContent.startsWith('9 of 9')")
    tab.key("g")
    for step in (20, 100):
        tab.key("n")
        tab.until(f"document.querySelector('#case h3').textContent.startsWith('step {step} · prompt-0')")
    readings = tab.js("[...document.querySelectorAll('.reading h3')].map((one) => one.textContent)")
    assert Counter(readings) == Counter(f"sample {number}" for number in range(1, 5))
    assert tab.errors == []
