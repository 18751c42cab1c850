"""The addresses of the benchmarks, and the numbers of pairs and pictures that they must contain.

The addresses are those in the authors' and later public code. No archive has a published hash, so the hash
of the first download is recorded, and later downloads must match it.
"""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a benchmark."""

    url: str
    largest: int = 5 * MB
    """Maximal size in bytes."""
    largest_unpacked: int = 0
    """Maximal size in bytes of an archive's content; 0 if the file is no archive."""
    sha256: str | None = None
    """None if it is not published."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark's files, and the counts that ``dcc data check`` expects."""

    title: str
    page: str
    downloads: tuple[Download, ...]
    pairs: int
    """Pairs in the list that papers use."""
    pictures: int | None = None
    """Different pictures in these pairs, if known."""


_WILLOW = "https://www.di.ens.fr/willow/research/proposalflow/dataset"
_LISTS = "http://www.di.ens.fr/willow/research/cnngeometric/other_resources"

SOURCES: dict[str, Source] = {
    "pf-pascal": Source(
        "PF-PASCAL",
        "https://www.di.ens.fr/willow/research/proposalflow/",
        (
            Download(f"{_WILLOW}/PF-dataset-PASCAL.zip", 1000 * MB, 4000 * MB),
            Download(f"{_LISTS}/test_pairs_pf_pascal.csv"),
            Download(f"{_LISTS}/val_pairs_pf_pascal.csv"),
        ),
        pairs=299,
    ),
    "pf-willow": Source(
        "PF-WILLOW",
        "https://www.di.ens.fr/willow/research/proposalflow/",
        (
            Download(f"{_WILLOW}/PF-dataset.zip", 1000 * MB, 4000 * MB),
            Download(f"{_LISTS}/test_pairs_pf.csv"),
        ),
        pairs=900,
        pictures=100,
    ),
    "tss": Source(
        "TSS",
        "https://taniai.space/projects/cvpr16_dccs/",
        (
            Download(
                "http://www.hci.iis.u-tokyo.ac.jp/datasets/data/JointCorrCoseg/TSS_CVPR2016.zip",
                4000 * MB,
                16000 * MB,
            ),
            Download(f"{_LISTS}/test_pairs_tss.csv"),
        ),
        pairs=400,
    ),
    "spair": Source(
        "SPair-71k",
        "https://cvlab.postech.ac.kr/research/SPair-71k/",
        (
            Download(
                "https://cvlab.postech.ac.kr/research/SPair-71k/data/SPair-71k.tar.gz", 2000 * MB, 8000 * MB
            ),
        ),
        pairs=12_234,
    ),
}
