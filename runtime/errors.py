"""Errors that a user can act on: one sentence each, shown without a traceback by every command."""

from __future__ import annotations

FAILURE, USAGE, NOT_VERIFIED = 1, 2, 3


class DccError(Exception):
    """Something outside the program is wrong; the message says what and what to do next."""

    exit_code = FAILURE


class UsageError(DccError):
    """The request itself cannot be met, whatever the files hold."""

    exit_code = USAGE


class ImageError(DccError):
    """A picture that cannot be read."""


class VideoError(DccError):
    """A video that cannot be read or written."""


class BundleError(DccError):
    """A bundle that is incomplete, altered, or not for this version."""


class EngineError(DccError):
    """The inference engine is missing, or does not do what was asked of it."""


class CheckpointError(DccError):
    """A weights file that is no network of ours."""


class DataError(DccError):
    """A pair list or a training set that cannot be used."""


class NotVerifiedError(DccError):
    """An exported bundle does not compute what the network computes."""

    exit_code = NOT_VERIFIED
