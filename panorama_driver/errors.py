"""Every error of the package, under one root.

    PanoramaError
     +-- UsageError                the user's input is wrong: exit code 2
     |    +-- StudyError           study.yml or study.in
     |    +-- WorkflowError        a workflow folder or its name
     |    +-- ParameterError       a parameter: unknown, out of bounds, of the wrong type
     |    +-- ResponseError        a response names no metric, or an output lacks its value
     |    +-- SiteError            a site catalog or its name
     |    +-- FormatError          a Dakota file that cannot be read
     |    +-- NotFoundError        a study, workflow run or job that nothing is known of
     +-- EnvironmentMissingError   a program, package or file of the machine is missing: exit code 3
     +-- EvaluationError           an evaluation ended without an answer: exit code 1
     |    +-- EvaluationTimeoutError
     |    +-- EvaluationCancelledError
     +-- StoreError                the store cannot be opened or written
     +-- SpoolFullError            a spool can take no more until what it holds was passed on
     +-- ServerError               the study server cannot be started or reached
     +-- ServiceError              a service that is not ours cannot be reached, or refuses: exit code 3
          +-- BrokerError          a message broker
          +-- ManagerError         Pegasus' Ensemble Manager
          +-- GlobusError          Globus

A message says what happened, where (path, key, value) and what to do next.
"""


class PanoramaError(Exception):
    """Root of all errors raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(PanoramaError, ValueError):
    """The user's input is wrong."""

    exit_code = 2


class StudyError(UsageError):
    """study.yml or study.in cannot be used."""


class WorkflowError(UsageError):
    """A workflow folder is unknown or malformed."""


class ParameterError(UsageError):
    """A parameter is unknown, out of bounds or of the wrong type."""


class ResponseError(UsageError):
    """A response names no metric, or an output file lacks its value."""


class SiteError(UsageError):
    """A site is unknown or its catalog malformed."""


class FormatError(UsageError):
    """A Dakota parameters or results file cannot be read."""


class NotFoundError(UsageError, LookupError):
    """Nothing is known of the study, the evaluation, the workflow run or the job that was asked for."""


class EnvironmentMissingError(PanoramaError):
    """A program, package or file that this machine should have is missing."""

    exit_code = 3


class EvaluationError(PanoramaError):
    """An evaluation ended without an answer."""


class EvaluationTimeoutError(EvaluationError, TimeoutError):
    """An evaluation ran longer than its study allows."""


class EvaluationCancelledError(EvaluationError):
    """An evaluation was cancelled."""


class StoreError(PanoramaError, OSError):
    """The store cannot be opened, read or written."""


class SpoolFullError(PanoramaError, OSError):
    """A spool can take no more until what it holds was passed on."""


class ServiceError(PanoramaError, ConnectionError):
    """A service that is not ours cannot be reached, or refuses.

    Attributes
    ----------
    transient : bool
        The same may succeed later: it was away, slow, starting or busy.
    status : int or None
        HTTP status of its answer; None where there was none.
    """

    exit_code = 3

    def __init__(self, message: str, *, transient: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.status = status


class BrokerError(ServiceError):
    """A message broker cannot be reached, or refuses."""


class ManagerError(ServiceError):
    """Pegasus' Ensemble Manager cannot be started or reached, or refuses."""


class GlobusError(ServiceError):
    """Globus' Transfer service cannot be reached, or refuses."""


class ServerError(PanoramaError, ConnectionError):
    """The study server cannot be started or reached."""
