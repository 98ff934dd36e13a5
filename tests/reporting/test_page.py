"""The page in a headless browser: it is complete and makes no network requests."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from plumbline.reporting.figures.canvas import INK
from plumbline.reporting.figures.checkpoints import against_training_time
from plumbline.reporting.figures.classes import class_fractions
from plumbline.reporting.figures.examples import examples
from plumbline.reporting.figures.kernels import kernel_descent
from plumbline.reporting.figures.multipliers import multiplier_courses
from plumbline.reporting.figures.trade_offs import trade_offs
from plumbline.reporting.keys import update_keys
from plumbline.reporting.page import section, with_code, write_page
from plumbline.reporting.summary import summarise
from plumbline.storage.store import write_store
from plumbline.study import load_study

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture
def page(comparison, tmp_path):
    write_store(comparison, tmp_path / "comparison.zarr")
    write_page([tmp_path / "comparison.zarr"], tmp_path / "report.html")
    return tmp_path / "report.html"


def test_studies_that_share_methods_are_compared(comparison, tmp_path):
    """A page of one study has no leaderboard."""
    other = comparison.copy()
    other.attrs = {
        name: value.replace('"name":"combustion"', '"name":"other"') if isinstance(value, str) else value
        for name, value in comparison.attrs.items()
    }
    paths = [tmp_path / f"{name}.zarr" for name in ("combustion", "other")]
    for path, one in zip(paths, (comparison, other), strict=True):
        write_store(one, path)
    write_page(paths, tmp_path / "both.html")
    write_page(paths[:1], tmp_path / "one.html")
    both, one = ((tmp_path / f"{name}.html").read_text() for name in ("both", "one"))
    assert '<section id="leaderboard">' in both and 'href="#leaderboard"' in both
    assert "Distance over floor: learned denoisers" in both
    assert 'id="leaderboard"' not in one


def test_figures_are_well_formed_and_described(comparison):
    shown = section(comparison).figures
    assert {f.name for f in shown} == {
        "histogram-elements",
        "examples",
        "cost",
        "marginals",
        "validation",
        "training",
    }
    ids = []
    for figure in shown:
        root = ET.fromstring(figure.svg)
        ids += [node.get("id") for node in root.iter() if node.get("id")]
        assert len(figure.alt) > 40
        assert INK not in figure.svg
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
    assert len(ids) == len(set(ids))


def test_a_constraint_that_is_not_measured_is_not_drawn(comparison):
    unmeasured = comparison.drop_vars([n for n in comparison if "distance_elements" in n])
    assert {"histogram-elements", "cost"} & {f.name for f in section(unmeasured).figures} == set()


def test_distances_are_drawn_against_the_time_of_all_training(comparison):
    assert against_training_time(comparison, "elements") is None
    judged = ["projected-step5", "projected-step10"]
    attrs = {"long_name": "distance to elements", "units": "mol"}
    at = comparison.assign_coords(judged=judged).assign(
        checkpoint_distance_elements=(("judged", "seed"), [[0.4, 0.6], [0.2, 0.2]], attrs),
        checkpoint_method=("judged", ["projected"] * 2),
        checkpoint_step=("judged", [5, 10]),
        checkpoint_seconds=(("judged", "seed"), [[30.0, 34.0], [60.0, 64.0]]),
    )
    figure = against_training_time(at, "elements")
    assert "projected distance to elements from 0.5 at 32 s to 0.2 at 62 s" in figure.alt
    assert figure.name in {f.name for f in section(at).figures}


def test_the_page_is_self_contained(page):
    text = page.read_text()
    assert "<script" not in text
    assert 'src="http' not in text
    assert "@import" not in text
    assert not list(page.parent.glob(".*partial"))


@pytest.fixture
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium and chromedriver are not installed: the page was not opened in a browser")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                     "--disable-background-networking", "--disable-component-update"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_in_a_browser(browser, page, width, dark):
    mode = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": mode})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    find = browser.find_elements
    assert [h.text for h in find("css selector", "section.study h2")] == ["Methane combustion"]
    assert {f.get_attribute("id") for f in find("css selector", "figure")} == {
        f"combustion-{name}"
        for name in ("histogram-elements", "examples", "cost", "marginals", "validation", "training")
    }
    for picture in find("css selector", ".picture"):
        assert picture.get_attribute("aria-label")
        drawn = picture.find_element("css selector", "svg").size
        assert drawn["height"] > 50
        assert drawn["width"] <= width
    assert len(find("css selector", "table")) == 2
    assert len(find("css selector", ".warnings li")) == 3
    # The page itself never scrolls horizontally; wide tables scroll within their own frame.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ink, ground = (
        browser.execute_script(f"return getComputedStyle(document.body).{p}")
        for p in ("color", "backgroundColor")
    )
    assert (_lightness(ink) > _lightness(ground)) == dark
    assert browser.get_log("browser") == []
    requests = [
        e["message"] for e in browser.get_log("performance") if '"Network.requestWillBeSent"' in e["message"]
    ]
    assert all("file://" in r or "data:" in r for r in requests)
    assert not any('"url":"http' in r for r in requests)


def _lightness(colour: str) -> float:
    return sum(float(v) for v in colour.split("(")[1].rstrip(")").split(",")[:3])


def test_tables_of_keys_are_checked(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the lines"):
        update_keys(path, check=True)


def test_words_between_backticks_are_code_and_the_rest_is_escaped():
    assert with_code("`a<b` & c") == "<code>a&lt;b</code> &amp; c"


def test_shares_of_classes_are_drawn(comparison):
    assert class_fractions(comparison) is None
    fractions = np.broadcast_to([0.25, 0.75], (4, 2, 2)).copy()
    fractions[1, 0], fractions[1, 1] = [0.1, 0.9], [0.2, 0.8]
    counted = comparison.assign_coords({"class": [0, 1]}).assign(
        class_fraction=(("methods", "seed", "class"), fractions)
    )
    figure = class_fractions(counted)
    assert "unconstrained 0.150, 0.850" in figure.alt
    assert figure.name in {f.name for f in section(counted).figures}


def test_courses_of_multipliers_are_drawn_for_models_that_have_them(comparison):
    assert multiplier_courses(comparison, {}) is None
    course = np.broadcast_to(np.arange(10.0), (2, 2, 10))
    trained = comparison.assign(
        training_multiplier_rare=(("model", "seed", "row"), course / 10),
        training_divergence_rare=(("model", "seed", "row"), 4 - course / 10),
    )
    model = str(comparison["model"].values[0])
    figure = multiplier_courses(trained, {model: {"rare": ("divergence_rare", 2.3)}})
    # The last quarter of ten rows is the last two.
    assert f"{model} multiplier rare 0.85; {model} divergence rare 3.15" in figure.alt
    assert ET.fromstring(figure.svg).tag.endswith("svg")


def test_metrics_are_drawn_against_bounds(comparison):
    bounds = {
        "projected": ("projected", 2.0),
        "collapsed": ("projected", 1.0),
        "unconstrained": ("other", 3.0),
    }
    assert trade_offs(comparison, {"projected": ("projected", 2.0)}, "bound") is None
    figure = trade_offs(comparison, bounds, "mean bound of the constraints")
    assert figure.name == "trade-offs-mean-bound-of-the-constraints"
    # One method has two bounds, the other only one.
    assert "projected sliced Wasserstein distance 0.05 at 1, 0.3 at 2" in figure.alt
    assert "other" not in figure.alt


def test_methods_are_drawn_against_the_number_that_they_trade_by():
    study = load_study(ROOT / "config/studies/latent_digits.yaml", "laptop")
    dials = summarise(study).tradeoffs
    assert dials["distance"]["actor_003"] == ("actor_0", 0.03)
    assert {name for name, (method, _) in dials["distance"].items() if method == "actor_0"} == {
        "actor_0", "actor_003", "actor_01", "actor_03",
    }  # fmt: skip
    descents = {name for name, (method, _) in dials["realism weight"].items() if method == "descent_0"}
    assert descents == {"descent_0", "descent_01", "descent_1"}


def test_kernels_are_drawn_beside_the_errors(comparison):
    """Errors (.4, .6) of one method on two systems: the half width of Student's interval is 12.7 times .1."""
    errors = np.full((4, 2, 2), np.nan)
    errors[1] = [0.4, 0.6]
    descent = np.full((4, 2, 2, 3), np.nan)
    descent[1] = [1.0, 0.8, 0.7]
    known = comparison.assign(
        error_of_system=(("methods", "seed", "system"), errors),
        kernel_descent=(("methods", "seed", "system", "descent_step"), descent),
    )
    assert kernel_descent(comparison) is None
    figure = kernel_descent(known)
    assert "unconstrained 0.500 ± 1.271" in figure.alt
    assert "projected" not in figure.alt
    assert ET.fromstring(figure.svg).tag.endswith("svg")


@pytest.mark.parametrize(
    ("draws", "words"),
    [(1, "the first row is real data"), (8, "above the first of 8 samples for each state")],
)
def test_what_stands_above_the_examples_is_told(comparison, draws, words):
    fields = np.random.default_rng(0).random((4, 6, 3, 8))
    shown = comparison.drop_vars("examples").assign(
        examples=(("methods", "example", "time", "x"), fields, {"draws": draws})
    )
    assert words in examples(shown).caption


def test_points_in_the_plane_are_drawn_as_points(comparison):
    points = np.zeros((4, 20, 2))
    points[2] += [0.25, -1.0]
    plane = (
        comparison.drop_vars("examples")
        .assign(examples=(("methods", "example", "coordinate"), points))
        .assign_coords(coordinate=[0, 1])
    )
    figure = examples(plane)
    assert "projected around (0.25, -1)" in figure.alt
    assert ET.fromstring(figure.svg).tag.endswith("svg")
