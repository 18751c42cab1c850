"""``dcc confidence`` fits confidence to pairs with truth; ``dcc eval``, ``info`` and ``match`` use it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.calibration.confidence.fit import fit_confidence, fit_line
from dccnet.calibration.confidence.samples import Samples, unrelated_pairs
from dccnet.evaluation.confidence import auroc, calibration_error, judge, reliability
from dccnet.evaluation.pairs import read_pairs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.confidence import FEATURES, probability, weighed
from dccnet.runtime.errors import DataError
from tests.helpers.commands import Cli, one_sentence

WEIGHTS = np.array([2.0, 0.5, 1.0])
"""Of the features that are weighed."""


def drawn_samples(count: int = 4000, seed: int = 0) -> Samples:
    """Matches that are right with exactly the probability of the line ``WEIGHTS``, 1."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(size=(count, len(FEATURES)))
    right = rng.random(count) < probability(weighed(evidence) @ WEIGHTS + 1)
    return Samples(evidence, np.where(right, 0.05, 0.5), tuple(f"g{i % 4}" for i in range(count)), 40)


def test_the_line_that_matches_were_drawn_by_is_found() -> None:
    samples = drawn_samples(20_000)
    line = fit_line(weighed(samples.evidence), samples.errors <= 0.1)
    np.testing.assert_allclose(line.weights, WEIGHTS, atol=0.12)
    assert line.intercept == pytest.approx(1, abs=0.1)


def test_a_feature_that_speaks_against_gets_no_weight() -> None:
    samples = drawn_samples()
    evidence = weighed(samples.evidence)
    evidence[:, 1] *= -1
    assert fit_line(evidence, samples.errors <= 0.1).weights[1] == 0


def test_the_fitted_model_is_calibrated_and_says_what_it_was_fitted_to() -> None:
    samples = drawn_samples()
    model = fit_confidence(samples, 0.1, "keypoints", ("a.csv",))
    assert (model.points, model.pairs, model.quality.groups) == (4000, 40, 4)
    assert model.right == np.mean(samples.errors <= 0.1)
    fresh = drawn_samples(seed=1)
    scores = judge(probability(model.log_odds(fresh.evidence)), fresh.errors, 0.1, [])
    assert scores.calibration_error < 0.03
    assert scores.auroc == pytest.approx(model.quality.auroc, abs=0.02)


def test_unrelated_pictures_lower_it_where_a_picture_has_little_support() -> None:
    """They count as a tenth of the others, and quality and shares are those of the others."""
    samples, few = drawn_samples(), drawn_samples(500, seed=2)
    evidence = few.evidence.copy()
    evidence[:, FEATURES.index("overall")] -= 3
    everything = Samples(
        np.concatenate([samples.evidence, evidence]),
        np.concatenate([samples.errors, np.full(500, np.inf)]),
        samples.groups + few.groups,
        samples.pairs,
    )
    before, after = (fit_confidence(s, 0.1, "keypoints", ()) for s in (samples, everything))
    assert (after.points, after.right, after.pairs) == (before.points, before.right, before.pairs)
    assert after.weights["overall"] > before.weights["overall"] + 0.1
    of_unrelated = [probability(model.log_odds(evidence)).mean() for model in (before, after)]
    assert of_unrelated[1] < of_unrelated[0] - 0.03
    twice = dataclasses.replace(
        everything,
        evidence=np.concatenate([everything.evidence, evidence]),
        errors=np.append(everything.errors, np.full(500, np.inf)),
        groups=everything.groups + few.groups,
    )
    again = fit_confidence(twice, 0.1, "keypoints", ())
    assert again.weights == pytest.approx(after.weights, abs=1e-3)  # however many there are


def test_unrelated_pairs_are_of_two_classes_of_one_list(pairs: Path) -> None:
    found = unrelated_pairs([read_pairs(pairs)], seed=1)
    assert len(found) == 6
    for pair, own in zip(found, read_pairs(pairs), strict=True):
        other = next(p for p in read_pairs(pairs) if p.target.key == pair.target.key)
        assert pair.source.key == own.source.key and other.category != own.category
        assert np.array_equal(pair.target_points, other.target_points)
    assert unrelated_pairs([[pair] * 3 for pair in read_pairs(pairs)], seed=1) == []


def test_matches_that_are_all_right_teach_nothing() -> None:
    samples = drawn_samples(200)
    with pytest.raises(DataError, match="only 0 of 200 matches are wrong"):
        fit_confidence(samples, 1.0, "keypoints", ())


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.5, 0.9]), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=60)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    found = auroc(confidence, right)
    above = confidence[right][:, None] - confidence[~right][None]
    if above.size == 0:
        assert found is None
    else:
        assert found == pytest.approx(np.mean((above > 0) + (above == 0) / 2))


def test_calibration_error_by_hand() -> None:
    confidence = np.repeat([0.2, 0.9], 10)
    right = np.array([True] * 4 + [False] * 6 + [True] * 9 + [False])
    bins = reliability(confidence, right, 2)
    assert [(b.count, b.right) for b in bins] == [(10, 0.4), (10, 0.9)]
    assert calibration_error(bins) == pytest.approx((0.2 + 0) / 2)
    assert len(reliability(confidence[:3], right[:3])) == 3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Path:
    """A list of a picture and shifted copies of it, some of whose keypoints are wrong on purpose."""
    folder = tmp_path_factory.mktemp("pairs")
    image = cv2.resize(cv2.imread(str(pictures[0])), (96, 96))
    rows = ["source_image,target_image,class,XA,YA,XB,YB"]
    cv2.imwrite(str(folder / "a.png"), image)
    x, y = (v.ravel() for v in np.meshgrid(range(10, 85, 15), range(10, 85, 15)))
    for shift in range(6):
        cv2.imwrite(str(folder / f"b{shift}.png"), np.roll(image, shift, axis=1))
        moved = np.where(np.arange(len(x)) % 3 == 0, 95 - x, x + shift)
        columns = [";".join(map(str, values)) for values in (x, y, moved, y)]
        rows.append(f"a.png,b{shift}.png,{shift % 3},{','.join(columns)}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


def test_from_pairs_to_matches_that_say_how_sure_they_are(
    dcc_here: Cli, bundle: Bundle, pairs: Path, tmp_path: Path
) -> None:
    sure, diagram = tmp_path / "sure", tmp_path / "diagram.png"
    fitted = dcc_here("confidence", bundle.path, "--pairs", pairs, "-o", sure, "--json")
    assert fitted.returncode == 0, fitted.stderr
    stored = Bundle.open(sure).manifest.confidence
    assert stored is not None
    name = f"{pairs.parent.name}/pairs.csv"
    assert stored.fitted_on == (f"{name}, and of two classes",) and stored.points == 6 * 25 * 2
    assert json.loads(fitted.stdout)["weights"] == stored.weights
    assert Bundle.open(sure).manifest.graphs == bundle.manifest.graphs

    evaluated = dcc_here(
        "eval", sure, "--benchmark", "pairs", "--data", pairs, "--json", "--reliability", diagram,
        "-o", tmp_path / "results",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(evaluated.stdout)["confidence"]
    assert found["points"] == 150 and sum(b["count"] for b in found["bins"]) == 150
    assert 0 <= found["calibration_error"] <= 1 and len(found["auroc_of_hits"]) == 1
    assert cv2.imread(str(diagram)) is not None

    both = dcc_here(
        "eval", sure, bundle.path, "--benchmark", "pairs", "--data", pairs, "--reliability", diagram,
        "-o", tmp_path / "both",
    )  # fmt: skip
    assert both.returncode == 2 and f"{bundle.path} has none" in both.stderr
    assert not (tmp_path / "both").exists()  # nothing was scored

    described = dcc_here("info", sure)
    assert "within 10 % of the longer side" in " ".join(described.stdout.split())

    a, b = pairs.parent / "a.png", pairs.parent / "b1.png"
    matched = dcc_here(
        "match", "--model", sure, a, b, "--points", "20,20;60,70", "--min-confidence", "0", "--json"
    )
    record = json.loads(matched.stdout)
    assert record["visible"] == [True, True] and len(record["confidence"]) == 2
    none = dcc_here("match", "--model", sure, a, b, "--min-confidence", "1", "--json")
    assert json.loads(none.stdout)["a_to_b"]["scores"] == []
    text = dcc_here("match", "--model", sure, a, b, "--points", "20,20")
    assert len(text.stdout.strip().split("\t")) == 4


def test_a_bundle_without_says_how_to_get_it(
    dcc_here: Cli, bundle: Bundle, pairs: Path, tmp_path: Path
) -> None:
    a = pairs.parent / "a.png"
    one_sentence(
        dcc_here("match", "--model", bundle.path, a, a, "--min-confidence", "0.5"), 2, "dcc confidence"
    )
    refused = dcc_here(
        "eval", bundle.path, "--benchmark", "pairs", "--data", pairs, "--reliability", tmp_path / "x.png"
    )
    assert refused.returncode == 2 and "needs bundles with confidence" in refused.stderr
    assert "no (dcc confidence)" in dcc_here("info", bundle.path).stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ((), "either --pairs or --warps", 2),
        (("--pairs", "none.csv"), "none.csv does not exist", 1),
        (("--pairs", "weak.csv"), "has no keypoints", 1),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(
    dcc_here: Cli,
    bundle: Bundle,
    pairs: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    code: int,
) -> None:
    weak = "source_image,target_image,class,flip\na.png,b1.png,1,0\n"
    (pairs.parent / "weak.csv").write_text(weak)
    output, folder = tmp_path / "never", pairs.parent
    given = [folder / text if text.endswith(".csv") else text for text in arguments]
    one_sentence(dcc_here("confidence", bundle.path, *given, "-o", output), code, message)
    assert not output.exists()
