"""Bundles in repositories of the Hugging Face Hub, or of a server with its API (``HF_ENDPOINT``)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dccnet.runtime.bundle import MANIFEST
from dccnet.runtime.errors import BundleError, DccError
from dccnet.runtime.extras import required
from dccnet.runtime.models.addresses import HubAddress
from dccnet.runtime.models.limits import LARGEST, LARGEST_MANIFEST, files_of

_TIMEOUT = 30.0  # seconds


def require_hub() -> None:
    """Raise :class:`DccError` if huggingface_hub is not installed."""
    with required("a model on the Hugging Face Hub", "hub"):
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import huggingface_hub

        del huggingface_hub


def fetch_from_hub(address: HubAddress, folder: Path) -> str:
    """Fetch the files of the bundle in the repository's root folder, and return their commit.

    Nothing else of the repository is fetched. Raises :class:`BundleError` where there is no bundle or too
    large a one, and :class:`DccError` where the Hub does not deliver it.
    """
    require_hub()
    from huggingface_hub import HfApi

    api: Any = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="dccnet")
    with _quiet(), _explained(address):
        info = api.model_info(
            address.repository, revision=address.revision, files_metadata=True, timeout=_TIMEOUT
        )
        commit = str(info.sha)
        sizes: dict[str, int] = {file.rfilename: file.size or 0 for file in info.siblings or ()}

        def take(names: list[str], largest: int) -> None:
            total = sum(sizes[name] for name in names)
            if total > largest:
                raise BundleError(f"{address} has {total} bytes, more than the allowed {largest}")
            for name in names:
                api.hf_hub_download(address.repository, name, revision=commit, local_dir=folder)
                if (folder / name).stat().st_size > largest:
                    raise BundleError(f"{address} is larger than its repository says: it is not used")

        if MANIFEST not in sizes:
            raise BundleError(
                f"{address} is no bundle: its repository has no {MANIFEST} in its root folder"
            )
        take([MANIFEST], LARGEST_MANIFEST)
        take([name for name in files_of(folder)[1:] if name in sizes], LARGEST)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's notes on what it fetched
    return commit


@contextlib.contextmanager
def _explained(address: HubAddress) -> Iterator[None]:
    """Raise :class:`DccError` with one sentence for the library's errors in this block."""
    from huggingface_hub import errors

    try:
        yield
    except DccError:
        raise
    except errors.GatedRepoError as error:
        raise DccError(
            f"{address} cannot be fetched: its owner has to grant access; ask for it on its page, then: hf "
            "auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DccError(
            f"{address} cannot be fetched: there is no such repository, or it is private (then: hf auth "
            "login)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DccError(
            f"{address} cannot be fetched: the repository has no branch, tag or commit of this name"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise DccError(
            f"{address} has not been fetched yet, and HF_HUB_OFFLINE forbids it: unset it once"
        ) from error
    except Exception as error:  # of the library and of those that it uses
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DccError(
            f"{address} cannot be fetched ({reason}): try again, or name a bundle that is here"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars in this block."""
    import huggingface_hub

    utils: Any = huggingface_hub.utils  # it does not say that it exports them
    if utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()
