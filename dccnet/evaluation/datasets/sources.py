"""Where the benchmarks come from: the one table of addresses, and how much must be there.

The addresses are those that the authors' and later public code names. No archive has a published hash, so
the first download's is recorded and held against every later one.
"""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a benchmark."""

    url: str
    largest: int = 5 * MB
    """Bytes; more is refused."""
    largest_unpacked: int = 0
    """Bytes of all that is in an archive; 0: it is no archive."""
    sha256: str | None = None
    """None: not published; what the first download had is recorded."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark's files, and what ``dcc data check`` expects in them."""

    title: str
    page: str
    downloads: tuple[Download, ...]
    pairs: int
    """In the list that papers report on."""
    pictures: int | None = None
    """Different ones in these pairs, where it is known."""


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
