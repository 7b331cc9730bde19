"""Options that are said once, as a dataclass."""

import inspect
from dataclasses import dataclass, field
from typing import Annotated

import pytest

pytest.importorskip("typer")
import typer
from typer.testing import CliRunner

from keras_explainable.cli.grouped import grouped
from support.selection import fast_on_torch

pytestmark = fast_on_torch


@dataclass(frozen=True)
class Shared:
    size: Annotated[int, typer.Option(help="How large.")] = 3
    names: Annotated[list[str], typer.Option("--name", "-n")] = field(default_factory=list)


def made():
    app, found = typer.Typer(), []

    @app.command()
    @grouped
    def command(image: Annotated[str, typer.Argument()], loud: bool = False, *, shared: Shared) -> None:
        """What it does."""
        found.append((image, loud, shared))

    return app, found, command


def test_fields_are_options():
    app, found, _ = made()
    assert CliRunner().invoke(app, ["a.png"]).exit_code == 0
    result = CliRunner().invoke(app, ["b.png", "--size", "5", "-n", "x", "--name", "y", "--loud"])
    assert result.exit_code == 0, result.output
    assert found == [("a.png", False, Shared()), ("b.png", True, Shared(5, ["x", "y"]))]
    assert CliRunner().invoke(app, ["a.png", "--size", "much"]).exit_code == 2


def test_the_signature_and_the_help_show_them():
    app, _, command = made()
    assert list(inspect.signature(command).parameters) == ["image", "loud", "size", "names"]
    said = CliRunner().invoke(app, ["--help"]).output
    assert "How large." in said and "--name" in said and "shared" not in said.lower() and "What it does." in said
