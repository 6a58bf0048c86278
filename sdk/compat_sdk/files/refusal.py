"""What the system refuses - for want of rights, room or a working disk - is no damage of a file."""

from __future__ import annotations

import errno

from compat_sdk.errors import SystemRefusedError

# What a file system says of a file itself; every other refusal is the system's own affair.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG, None}
_REMEDIES = {
    errno.EMFILE: "close some files, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the whole system has too many files open; close some programs",
    errno.EACCES: "give this user permission",
    errno.EPERM: "give this user permission",
    errno.EROFS: "it can only be read; choose another place",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "make room on that disk, or choose another place (TMPDIR for temporary files)",
    errno.EDQUOT: "make room within this user's quota",
    errno.EIO: "check the disk and its cables; then read again",
    errno.ESTALE: "the network file system lost it; mount it again",
    errno.ETIMEDOUT: "the network file system does not answer; try again",
}


def raise_if_refused(path: object, error: OSError, what: str = "read") -> None:
    """Raise SystemRefusedError where the system, and not the file, is why ``path`` could not be read.

    Args:
        path: The file or folder, or what else its text names, such as a picture in a tar file.
        error: What the system said.
        what: What was to be done with it, for the message.
    """
    if error.errno not in _OF_THE_FILE:
        remedy = _REMEDIES.get(error.errno or 0, "mend that and try again")
        raise SystemRefusedError(
            str(path),
            error.errno,
            f"the system refused to {what} {path}: {error.strerror or error}; {remedy}",
        ) from error
