"""What can go wrong in the toolkit.

The class name is the error name that a state machine sees (`ErrorEquals`), so these names are part of the public
contract. Every adapter raises these and nothing of its own library.
"""

from __future__ import annotations


class ToolkitError(Exception):
    """Base of everything the toolkit raises on purpose."""


class ResourceNotDeclared(ToolkitError):
    """A bucket, table, topic, secret or machine that `stepwell.toml` does not declare."""


class StorageError(ToolkitError):
    """Objects or records could not be read or written; the message names the bucket or table and the key."""


class ObjectNotFound(StorageError):
    """There is no such object."""


class PreconditionFailed(StorageError):
    """`if_absent` or `if_match` did not hold: somebody else wrote the object first."""


class UploadNotFound(StorageError):
    """A multipart upload that was completed, aborted or never begun."""


class RecordExists(StorageError):
    """`put(..., if_absent=True)` met a record."""


class RecordConflict(StorageError):
    """`mutate` lost every attempt against concurrent writers."""


class RecordTooLarge(StorageError):
    """A record above 409,600 bytes (DynamoDB's limit of 400 KB, held by both adapters)."""


class LeaseUnavailable(ToolkitError):
    """The lease is held by somebody else, and waiting for it did not help."""


class LeaseLost(ToolkitError):
    """The lease expired or was taken over: what it protected must not be written."""


class SecretNotFound(ToolkitError):
    """There is no such secret."""


class SecretInvalid(ToolkitError):
    """A secret that is there but cannot be used: not JSON, a missing key, or a file that others may read."""


class NoticeRefused(ToolkitError):
    """A subject or body that SNS would refuse, or a topic that does not exist."""


class LaunchError(ToolkitError):
    """No capacity now; trying again later, or elsewhere, may help."""


class MachineConfigError(ToolkitError):
    """A machine that cannot start however often one tries."""


class CallbackError(ToolkitError):
    """A task token that the engine does not take any more, or an engine that cannot be reached."""
