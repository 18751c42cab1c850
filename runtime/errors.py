"""Errors that a user can act on. Commands show the message, one sentence, without a traceback."""

from __future__ import annotations

FAILURE, USAGE, NOT_VERIFIED = 1, 2, 3


class DccError(Exception):
    """A problem outside the program; the message says what it is and what to do next."""

    exit_code = FAILURE


class UsageError(DccError):
    """A request that cannot be met whatever the files contain."""

    exit_code = USAGE


class DccWarning(UserWarning):
    """A result that is probably not what the user wants. Commands show it as one line of text."""


class ArgumentError(UsageError, ValueError):
    """An argument of a function that has another shape, type or range than it takes."""


class ImageError(DccError):
    """A picture that cannot be read."""


class VideoError(DccError):
    """A video that cannot be read or written."""


class BundleError(DccError):
    """A bundle that is incomplete, altered, or written for another version."""


class EngineError(DccError):
    """An inference engine that is missing or does not work as requested."""


class CheckpointError(DccError):
    """A file that does not contain the weights of a DCCNet."""


class DataError(DccError):
    """A pair list or a training set that cannot be used."""


class NotVerifiedError(DccError):
    """An exported bundle whose results differ from the network's."""

    exit_code = NOT_VERIFIED
