"""Become a server process that cannot outlive the program that asked for it.

Run by path (`python -I -S child.py ...`), never imported, and free of imports from this
project, so that it costs milliseconds. It is a program of its own and not a `preexec_fn`,
because code between fork and exec can deadlock in a program that has threads (from Python
3.12 on it also warns), and because the kernel refuses a user namespace to a threaded process.

Arguments: parent pid, signal to receive when the parent dies, uid to appear as inside a user
namespace, uid and gid to become, data folder, and the command. -1 stands for "leave it".
Without a command it only tries the namespace: exit code 0 says it is allowed.
"""

import ctypes
import os
import sys
from pathlib import Path

UNCHANGED = -1
PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def call(name: str, *arguments: int) -> None:
    """Call a C function that Python 3.11 does not offer; raise OSError when it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter_namespace(inner_uid: int) -> None:
    """Appear under another uid while every file access stays that of the caller.

    Postgres refuses uid 0. Inside the namespace it sees `inner_uid`; outside, the process
    still is the caller, so a 0700 home works, no user is made and no mode is changed.
    """
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER)
    # The kernel takes a group map from an unprivileged process only after this.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{inner_uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{inner_uid} {outer_gid} 1", encoding="ascii")


def become(uid: int, gid: int) -> None:
    """Give up root for good: groups first, because afterwards there is no right to."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent is gone.

    Last before exec: a change of credentials clears the request. And the parent may have
    died before it was made, in which case no signal will ever come.
    """
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the program that asked for this server is gone: not started")


def require(path: str, mode: int) -> None:
    """Say in one line what a uid without rights cannot reach."""
    if not os.access(path, mode):
        sys.exit(
            f"uid {os.getuid()} cannot reach {path}: put the data folder and the virtualenv"
            " where every user may pass (not below a private home)"
        )


def main(arguments: list[str]) -> None:
    """Change identity, bind the life of this process to its parent, then exec."""
    parent, death_signal, inner_uid, uid, gid = (int(argument) for argument in arguments[:5])
    folder, *command = arguments[5:]
    if inner_uid != UNCHANGED:
        enter_namespace(inner_uid)
    if not command:
        return
    if uid != UNCHANGED:
        become(uid, gid)
    require(command[0], os.X_OK)
    require(folder, os.R_OK | os.W_OK | os.X_OK)
    die_with(parent, death_signal)
    os.execv(command[0], command)  # noqa: S606 (no shell is the point)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot launch: {error}")
