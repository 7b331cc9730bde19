"""The documentation site: `make site`. Its pages are docs/*.md, start/, tutorials/, and those that `_ext/` writes."""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")  # nothing is compiled, so tutorials take seconds
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads are slower for a network this small
DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS)]

import keras_explainable as ke  # noqa: E402

project = "keras-explainable"
copyright = "the keras-explainable contributors"
release = version = ke.__version__

extensions = [
    "keras_explainable_site",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = [
    "_build",
    "_ext",
    "tutorials",
    "methods.md",
    "_made/tutorials/**/*.md5",
    "_made/tutorials/**/*.ipynb",
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the sorting class of the gallery cannot be pickled

napoleon_custom_sections = [("Common arguments", "params_style")]
napoleon_use_param = False  # "x, y: as in ..." is one entry, not one for each
autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = True
python_maximum_signature_line_length = 1000
nitpicky = True

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "_made/tutorials",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "subsection_order": ["tutorials/basics", "tutorials/tasks", "tutorials/trust", "tutorials/from"],
    "image_scrapers": ("keras_explainable_site.figures",),
    "reset_modules": (),
    "capture_repr": ("_repr_html_",),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "plot_gallery": "True",
    "show_memory": False,
    "write_computation_times": False,  # these pages load scripts from other hosts
    "backreferences_dir": None,
    "nested_sections": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "keras-explainable"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_sidebars = {"index": []}
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    # Pages of wide tables have no second sidebar.
    "secondary_sidebar_items": {"**": ["page-toc"], "zoo": [], "leaderboard": [], "coming-from": [], "precision": []},
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
