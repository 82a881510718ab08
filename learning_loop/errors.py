"""Every error this package raises, as one tree; each message says what to do next.

LearningLoopError                exit code 1
├── UsageError              2    the call or the arguments are wrong
│   ├── TaskError                a task cannot be understood
│   ├── ConditionError           a condition, or what a rule does, cannot be understood
│   ├── ConflictError            somebody else changed it meanwhile, or it is under way already
│   └── MappingError             a mapping of columns cannot be used, or does not fit the file
├── WorkspaceError          3    the workspace is missing, or cannot be read or written
│   ├── ConfigurationError  4    a file under config/, or a variable, cannot be used
│   ├── IndexBusyError           another process writes the index for long
│   ├── NoteError                a note cannot be parsed
│   └── TemplateError            a template cannot be found or rendered
├── LedgerError             5    the ledger cannot be opened, read or written
├── NotFoundError           6    no execution or note has this id
├── PolicyError                  a learned policy cannot choose now: the rules do
├── LanguageModelError           a language model gave no usable answer, or may not be asked: all goes on without it
├── DeliveryError                a notice could not be delivered
└── ModelError              7    a model cannot be found, loaded or exported
"""


class LearningLoopError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class PolicyError(LearningLoopError):
    pass


class UsageError(LearningLoopError):
    exit_code = 2


class TaskError(UsageError):
    pass


class ConditionError(UsageError):
    pass


class MappingError(UsageError):
    pass


class ConflictError(UsageError):
    pass


class WorkspaceError(LearningLoopError):
    exit_code = 3


class IndexBusyError(WorkspaceError):
    """Another process writes the index, and for longer than was waited."""


class ConfigurationError(WorkspaceError):
    exit_code = 4


class NoteError(WorkspaceError):
    pass


class TemplateError(WorkspaceError):
    pass


class LedgerError(LearningLoopError):
    exit_code = 5


class NotFoundError(LearningLoopError):
    exit_code = 6


class LanguageModelError(LearningLoopError):
    pass


class DeliveryError(LearningLoopError):
    pass


class ModelError(LearningLoopError):
    exit_code = 7
