"""What can go wrong. A class's name is the error name that the state machines see in Retry and Catch."""

from __future__ import annotations


class EmbeddingError(Exception):
    """Base of everything this pipeline raises on purpose."""


class ValidationError(EmbeddingError):
    """An event, a setting or a request that no repetition makes right."""


class ContractViolation(EmbeddingError):
    """A step was given what an earlier step must not produce."""


class CoverageMismatch(EmbeddingError):
    """The merged inputs do not hold exactly the deltas that were polled."""


class MissingArtifact(EmbeddingError):
    """A prefix without a MANIFEST, or one whose files are not those the MANIFEST lists."""


class SnapshotMissing(EmbeddingError):
    """The pointer names a version that is not there."""


class DeltaInvalid(EmbeddingError):
    """A delta could not be read back as it was written."""


class AllPollsFailed(EmbeddingError):
    """No batch of the run could be polled."""


class LockUnavailable(EmbeddingError):
    """Another writer of this collection holds the lock."""


class LockLost(EmbeddingError):
    """The lock expired or was taken over while this writer worked; nothing was published."""


class PointerConflict(EmbeddingError):
    """Somebody else published while this writer worked, time and again."""


class AuthError(EmbeddingError):
    """The provider refuses the API key."""


class ProviderError(EmbeddingError):
    """The provider could not be reached or answered with a fault; trying again may help."""


class ProviderUnavailable(ProviderError):
    """The circuit breaker is open: the provider failed repeatedly a moment ago."""


class BatchNotFound(ProviderError):
    """The provider knows no such batch."""


class PlaceFinderError(EmbeddingError):
    """The place finder could not be reached or answered with a fault; trying again may help."""


class ItemGone(EmbeddingError):
    """A word that is not (any more) in the receipt it is to be embedded in."""


class TimeRunningOut(EmbeddingError):
    """95 % of the time granted is used, or all that one step may take: better to fail now than to be killed in a write."""
