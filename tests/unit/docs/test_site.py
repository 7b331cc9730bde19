"""The documentation site: each method has a page, and each internal link leads somewhere."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support.selection import fast_on_torch, very_slow_compiled

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
BUILT = DOCS / "_build" / "html"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

pytestmark = [
    fast_on_torch,
    pytest.mark.skipif(not (DOCS / "_ext").exists(), reason="the documents are not installed with the package"),
]


@pytest.fixture(scope="module")
def site():
    """The modules of docs/_ext by name."""
    folders = [str(DOCS / "_ext"), str(DOCS)]
    sys.path[:0] = folders
    names = ("build_methods_page", "links", "method_pages", "docstrings", "reference_pages")
    yield {name: importlib.import_module(name) for name in names}
    for folder in folders:
        sys.path.remove(folder)
    for name in names:
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def pages(site, tmp_path_factory):
    pytest.importorskip("PIL")
    folder = tmp_path_factory.mktemp("methods")
    site["method_pages"].write(DOCS, folder)
    return folder


def test_each_method_has_a_page_with_what_is_known_about_it(pages):
    listed = (pages / "index.md").read_text(encoding="utf-8")
    assert "**Start here.**" in listed and "[`gradcam`](gradcam.md)" in listed and "(../../leaderboard.md)" in listed
    for name, record in ke.registry.METHODS.items():
        page = (pages / f"{name}.md").read_text(encoding="utf-8")
        for known in (record.summary, record.needed, str(record.cost), record.reference, record.caveat):
            assert known.replace("\n", " ") in page.replace("\n", " ")
        assert f"autofunction:: keras_explainable.{name}\n" in page
        assert f"../../methods/{name}.jpg" in page and (DOCS / "methods" / f"{name}.jpg").exists()
        assert f":link: {name}\n" in listed and f"\n{name}\n" in listed.partition("toctree")[2]
        assert (pages / "cards" / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize("name", sorted(ke.registry.METHODS))
def test_the_second_paragraph_of_a_docstring_is_the_equation(site, name):
    text = inspect.cleandoc(ke.registry.METHODS[name].function.__doc__)
    summary, equation, rest = site["method_pages"].first_parts(text.split("\n"))
    assert " = " in equation or " <- " in equation
    assert "=" not in summary and not equation.startswith(("Args:", "Reference"))
    assert "\n".join([summary, "", equation, "", *rest]) == text


def test_rules_belong_to_the_equation_that_announces_them(site):
    lines = ["It propagates.", "", "maps = x g, except for these rules:", "", "- One.", "- Two.", "", "More."]
    summary, equation, rest = site["method_pages"].first_parts(lines)
    assert (summary, rest) == ("It propagates.", ["More."])
    assert equation.endswith("- One.\n- Two.")


@very_slow_compiled
@pytest.mark.parametrize("name", sorted(ke.registry.METHODS))
def test_the_lines_to_copy_run(site, name):
    if name == "xrai":
        pytest.importorskip("skimage")
    record = ke.registry.METHODS[name]
    code = site["method_pages"].lines_to_copy(record)
    many = ke.registry.Need.BLACK_BOX in record.needs and "segments" not in record.cost.letters
    few = f", repetitions={60 if many else 4}"
    few = few if ke.registry.takes(record.function, "repetitions") else ""
    names = {}
    exec(code.replace('"predicted"', f'"predicted", verbose=0{few}'), names)
    assert names["maps"].shape == (2, 96, 96, 1) and np.ptp(names["maps"]) > 0


def test_the_lines_to_copy_are_programs(site):
    for record in ke.methods.list():
        ast.parse(site["method_pages"].lines_to_copy(record))


def test_names_in_other_libraries_come_from_the_tested_table(site):
    found = site["method_pages"].elsewhere((DOCS / "coming-from.md").read_text(encoding="utf-8"))
    assert found["gradcam"] == {
        "Captum": ["LayerGradCam"],
        "pytorch-grad-cam": ["GradCAM"],
        "tf-keras-vis": ["Gradcam"],
        "Xplique": ["GradCAM"],
        "fullgrad-saliency": ["GradCAM"],
    }
    assert found["full_gradients"]["fullgrad-saliency"] == ["FullGrad"]
    assert found["occlusion"] == {"Captum": ["Occlusion"], "Xplique": ["Occlusion"]}


def test_tutorials_are_found_by_the_methods_that_they_run(site):
    uses = site["method_pages"].used_in(DOCS / "tutorials")
    assert uses["gradcam"]["basics/1_first_map"] == "A first map"
    assert "tasks/3_transformer" in uses["attnlrp"] and "from/4_xplique" in uses["occlusion"]
    assert "basics/1_first_map" not in uses["occlusion"]


def anchors(path):
    """The anchors of a Markdown file, as code hosts and the site make them from its headings."""
    words = (re.sub(r"[^\w\- ]", "", title.strip().lower()) for title in HEADING.findall(path.read_text("utf-8")))
    return {one.replace(" ", "-") for one in words}


def sources():
    """The Markdown files of the project, without what is generated."""
    found = [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "bench").glob("*.md")]
    return sorted(path for path in found if not {"_made", "_build"} & set(path.relative_to(ROOT).parts))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_of_sources_lead_to_files_and_headings(site, path):
    for link in site["links"].links_of(path.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        target = (path.parent / target).resolve() if target else path
        if "_made" not in target.parts:
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_links_lead_to_pages_of_the_site(site):
    source = "[a](methods.md#kerise) [b](methods.md#cam-family) [c](inputs.md#which-layer) [d](https://arxiv.org/abs/1)"
    assert site["links"].in_site(source, "") == (
        "[a](_made/methods/rise.md) [b](_made/methods/index.md#cam-family) [c](inputs.md#which-layer) "
        "[d](https://arxiv.org/abs/1)"
    )
    assert site["links"].in_site("[a](../../SECURITY.md)", "start") == "[a](../_made/project/security.md)"
    assert site["links"].in_site("[a](../tutorials/from/1_captum.py)", "start") == (
        "[a](../_made/tutorials/from/1_captum.rst)"
    )
    assert site["links"].in_site("[a](docs/guide.md)", "..", "_made/project") == "[a](../../guide.md)"
    fenced = "```python\nmaps[0](methods.md)\n```"
    assert site["links"].in_site(fenced, "") == fenced


def test_broken_and_foreign_links_of_a_built_site_are_found(site, tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">1</a><a href="c.html">2</a><a href="#no">3</a>')
    (tmp_path / "b.html").write_text('<h1 id="here"></h1><a href="https://arxiv.org">4</a><img src="//cdn.com/x.png">')
    assert site["links"].broken(tmp_path) == ["a.html: #no", "a.html: c.html"]
    assert site["links"].foreign(tmp_path) == ["b.html: //cdn.com/x.png"]


@pytest.mark.skipif(not BUILT.exists(), reason="the site is not built: make site")
def test_the_built_site_has_no_broken_link_and_loads_nothing_from_other_hosts(site):
    assert site["links"].broken(BUILT) == []
    assert site["links"].foreign(BUILT) == []
    for name in ke.registry.METHODS:
        assert (BUILT / "_made" / "methods" / f"{name}.html").exists()


def test_docstrings_become_restructured_text(site):
    convert = site["docstrings"].convert
    assert convert(["The |score| of (B, *S) with `layer=` of x_i:", "- one", "- two"]) == [
        r"The \|score\| of (B, \*S) with ``layer=`` of x_i:",
        "",
        "- one",
        "- two",
    ]
    assert convert(["See `ke.explain` and `ke.scores`."]) == [
        "See :py:obj:`ke.explain <keras_explainable.explain>` and :py:obj:`ke.scores <keras_explainable.scores>`."
    ]
    assert convert(["Use it:", "", "    ke.gradcam(model, x)"]) == ["Use it:", "", "::", "", "    ke.gradcam(model, x)"]
    assert convert(["Args:", "    x: the image."]) == ["Args:", "    x: the image."]


def test_the_reference_has_what_the_package_shows(site, tmp_path):
    site["reference_pages"].write(tmp_path)
    text = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.rst"))
    for name in (
        "explain",
        "evaluate",
        "trust",
        "scores.margin",
        "metrics.srg",
        "methods.meta.tta",
        "filters.normalize",
    ):
        assert f"autofunction:: keras_explainable.{name}\n" in text
    assert "autoclass:: keras_explainable.Explanation\n" in text
    listed = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert {path.stem for path in tmp_path.glob("*.rst")} == set(re.findall(r"_made/reference/(\w+)", listed))


def programs():
    """The programs on pages that need no file: each imports the library and explains something."""
    for path in [*sorted(DOCS.glob("*.md")), *sorted((DOCS / "start").glob("*.md"))]:
        for block in BLOCK.findall(path.read_text(encoding="utf-8")):
            if "import keras_explainable" in block and "cat.jpg" not in block:
                yield pytest.param(block, id=path.relative_to(DOCS).as_posix())


@pytest.mark.parametrize("code", list(programs()))
def test_programs_on_pages_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)  # a map of random weights may be 0 everywhere
    names = {}
    exec(code, names)
    assert np.isfinite(names["maps"]).all() and np.ptp(names["maps"]) > 0


def test_there_are_programs_on_pages():
    assert {param.id for param in programs()} >= {"index.md", "scale.md", "start/own-model.md", "guide.md"}


def test_tutorials_check_their_results():
    for path in sorted((DOCS / "tutorials").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checks = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr.startswith("assert_"))
        ]
        assert checks, f"{path.name} has no check"
