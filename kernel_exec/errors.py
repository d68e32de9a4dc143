"""What can go wrong, by what the caller can do about it.

Every message names the thing and the way out; tools show it to the model as it stands.
"""


class KernelExecError(Exception):
    """Root of every error that kernel-exec raises on purpose."""


class InvalidArgumentError(KernelExecError):
    """Raised when an argument, a setting or a stored value is not allowed; correct it."""


class RefusedSettingError(InvalidArgumentError):
    """Raised when a setting, or a file of settings, can't be used; `where` is where it was set.

    `unquoted` is the message without the value, which may be a secret.
    """

    def __init__(self, message: str, *, where: str, unquoted: str = "") -> None:
        """Without a value in the message it is `unquoted` itself."""
        super().__init__(message)
        self.where = where
        self.unquoted = unquoted or message


class UnencodableError(InvalidArgumentError):
    """Raised when text is not in the encoding that it declares; declare another one."""


class NotFoundError(KernelExecError):
    """Raised when a session, an execution, a script or an environment is not known."""


class BusyError(KernelExecError):
    """Raised when a queue or another bounded resource is full; try again later."""


class UnusableEnvironmentError(KernelExecError):
    """Raised when no working interpreter or no kernel support is had for an environment."""


class PackageError(KernelExecError):
    """Raised when packages could not be installed or listed; carries the installer's words."""


class KernelStartError(KernelExecError):
    """Raised when a kernel process did not come up; carries the tail of its stderr."""


class KernelDeadError(KernelExecError):
    """Raised when a request needs a living kernel and there is none."""


class StorageError(KernelExecError):
    """Raised when the storage root or a file below it can't be read or written."""


def unusable(error: Exception) -> str:
    """What there is to say when a module of ours can't be imported."""
    return (
        f"a library that kernel-exec needs is broken ({type(error).__name__}: {error});"
        " install kernel-exec again"
    )


def parted(message: str) -> tuple[str, str]:
    """What is wrong, and the way out behind the last semicolon, or "".

    What goes on over several lines is what another program printed.
    """
    message = message.rstrip(".")
    text, _, way_out = message.rpartition("; ")
    return (text, way_out) if text and "\n" not in way_out else (message, "")


def explained(message: str, hint: str = "", *, kind: str = "error") -> str:
    """What a person reads: what is wrong, and in a line of its own the way out.

    That is `hint` where the message has none.
    """
    text, way_out = parted(message)
    way_out = way_out or hint
    return f"{kind}: {text}" + (f"\nhint: {way_out}" if way_out else "")


def bare(error: Exception) -> Exception:
    """`error` without the groups that task groups wrap around the first thing that went wrong."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
