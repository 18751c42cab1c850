"""What only GitHub, PyPI and reference managers read: it says what the package says."""

from __future__ import annotations

import os
from typing import Any

import pytest

import dccnet
from tests.helpers.paths import ROOT

yaml = pytest.importorskip("yaml")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == dccnet.__version__
    paper = citation["preferred-citation"]
    assert paper["title"] == "Dynamic Context Correspondence Network for Semantic Alignment"
    assert [author["family-names"] for author in paper["authors"]] == [
        "Huang",
        "Wang",
        "Zhang",
        "Yan",
        "He",
    ]


def test_workflows_call_the_checks_and_publish_without_a_password() -> None:
    (checks,) = read(".github/workflows/checks.yml")["jobs"].values()
    assert [step["run"] for step in checks["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    publish = read(".github/workflows/release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"] == "pypi"
    assert "secrets." not in text and "password:" not in text
    assert publish["needs"] == "build"


@pytest.mark.parametrize("name", ["bug.yml", "idea.yml"])
def test_issue_forms_have_what_github_requires(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}")
    assert form["name"] and form["description"]
    assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in form["body"])
    assert len({part["id"] for part in form["body"]}) == len(form["body"])
