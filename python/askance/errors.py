"""The whole error tree.

    AskanceError                 exit code 1: something failed while running
    ├── UsageError               exit code 2: the command, its input or its configuration is wrong
    │   └── ConfigError          a setting is unknown, malformed or contradicts another
    ├── StreamError              a source or a sink cannot go on
    ├── LedgerError              the ledger cannot be opened, is locked or is damaged
    │   └── NotUnderWayError     a call or query is settled that is not under way
    ├── RegistryError            the registry cannot do what was asked
    │   ├── UnknownVersionError  exit code 2: there is no version of that name
    │   ├── DamagedVersionError  a version's files do not match its manifest
    │   └── RegistryUnreachableError  its store is away; trying again later may help
    ├── TeacherError             the teacher cannot be asked at all (credentials, unknown model)
    └── TrainingError            no version came out of a training
        └── ParityError          the exported student does not answer like the one that was trained

Only misuse and broken surroundings raise; bad *data* becomes a dead letter. A foreign exception is translated
once, in the adapter that imports the foreign library. Every message names the thing, the limit and the remedy,
because it is printed alone, without a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askance.calls import Charge


class AskanceError(Exception):
    """Anything askance raises on purpose; `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(AskanceError):
    """The command line, the input or the configuration is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, malformed or contradicts another."""


class StreamError(AskanceError):
    """A source or a sink cannot go on."""


class LedgerError(AskanceError):
    """The ledger cannot be opened, is locked or is damaged."""


class NotUnderWayError(LedgerError):
    """A call or query is settled that is not under way; trying again would not help."""


class RegistryError(AskanceError):
    """The registry cannot do what was asked."""


class UnknownVersionError(RegistryError):
    """There is no version of the name that was given."""

    exit_code = 2


class DamagedVersionError(RegistryError):
    """A version's files do not match its manifest."""


class RegistryUnreachableError(RegistryError):
    """The store that holds the registry cannot be reached now; trying again later may help."""


class TeacherError(AskanceError):
    """The teacher cannot be asked at all; asking again would not help.

    `charges` is what the call had cost by then; None: unknown, so it counts as its reservation.
    """

    charges: tuple[Charge, ...] | None = ()


class TrainingError(AskanceError):
    """No version came out of a training."""


class ParityError(TrainingError):
    """The exported student does not answer like the one that was trained."""
