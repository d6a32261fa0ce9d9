"""Errors that a user can act on: each message names the file, the fact and the remedy."""

from __future__ import annotations


class PartranscribeError(Exception):
    """Something about the input, the output or the machine is wrong, and the message says what to do."""


class ClusterError(PartranscribeError):
    """A cluster cannot be used."""


class AudioError(PartranscribeError):
    """A recording cannot be read, or holds nothing that can be transcribed."""


class NoteFileError(PartranscribeError):
    """A note list cannot be read, or its notes are impossible."""


class DataError(PartranscribeError):
    """What is trained on cannot be used."""


class StoreError(PartranscribeError):
    """What a URL names cannot be read or written."""


class OutputError(PartranscribeError):
    """A result cannot be written."""


class CheckpointError(PartranscribeError):
    """A checkpoint is missing, damaged, or not for this version."""


class DeviceError(PartranscribeError):
    """The requested compute device is not there."""


def first_line(error: BaseException) -> str:
    """The first line of what an error tells, or its kind if it tells nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
