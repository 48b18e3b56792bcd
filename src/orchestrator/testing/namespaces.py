"""Start one command of a container: a program of its own, started by root with a description as JSON.

`main` makes the container's namespaces and its root (a copy-on-write view of this machine's files), and stays
until its first process has ended. `exec` enters the namespaces that a `main` made. This shows a command the
same surroundings as a real container. It does not isolate well enough for code that is not trusted. Only the
standard library can be imported here.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_FILES, NEW_IPC, NEW_PIDS, NEW_NETWORK = 0x00020000, 0x08000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18
DEATH_SIGNAL, SECCOMP, DROP_FROM_BOUND, NO_NEW_PRIVILEGES = 1, 22, 24, 38
ALLOW_EVERYTHING = bytes.fromhex("060000000000ff7f")
"""A filter of one instruction: return SECCOMP_RET_ALLOW."""
BEGUN = b"\0"
"""Printed before the command's own output, when the container is ready."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(about: dict[str, Any]) -> int:
    network = 0 if about["network"] else NEW_NETWORK
    _check(LIBC.unshare(NEW_FILES | NEW_IPC | NEW_PIDS | network))
    return _wait_for(_fork(lambda: _run_init(about)))


def enter(about: dict[str, Any]) -> int:
    for kind in ("mnt", "ipc", "net", "pid_for_children"):
        with open(f"/proc/{about['leader']}/ns/{kind}") as namespace:  # noqa: PTH123
            _check(LIBC.setns(namespace.fileno(), 0))
    _join(about)
    return _wait_for(_fork(lambda: _exec_command(about)))


def _run_init(about: dict[str, Any]) -> int:
    """Be the first process of the namespace; every other process in it ends with this one."""
    _join(about)
    _make_root(about)
    return _wait_for(_fork(lambda: _exec_command(about)))


def _join(about: dict[str, Any]) -> None:
    for file in about["groups"]:
        with open(file, "w") as members:  # noqa: PTH123
            members.write("0")


def _make_root(about: dict[str, Any]) -> None:
    root = about["root"]
    _mount("none", "/", "none", PRIVATE | RECURSIVE)
    layers = f"lowerdir=/,upperdir={about['layer']},workdir={about['work']}"
    _mount("overlay", root, "overlay", 0, layers)
    _mount("proc", f"{root}/proc", "proc", 0)
    _mount("sysfs", f"{root}/sys", "sysfs", READ_ONLY)
    _mount("tmpfs", f"{root}/tmp", "tmpfs", NO_SUID, f"mode=1777,size={about['tmp_bytes']}")  # noqa: S108
    _mount("tmpfs", f"{root}/run", "tmpfs", NO_SUID, "mode=755")
    _mount("tmpfs", f"{root}/dev", "tmpfs", NO_SUID, "mode=755")
    for name in DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    os.symlink("/proc/self/fd", f"{root}/dev/fd")  # noqa: PTH211
    for source, target, read_only in about["mounts"]:
        _bind(source, root + target, read_only=read_only)
    os.makedirs(root + about["folder"], exist_ok=True)  # noqa: PTH103


def _bind(source: str, target: str, *, read_only: bool) -> None:
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        with open(target, "a"):  # noqa: PTH123
            pass
    _mount(source, target, "none", BIND)
    if read_only:
        _mount("none", target, "none", BIND | REMOUNT | READ_ONLY)


def _exec_command(about: dict[str, Any]) -> int:
    """Become the command, with no more rights than its user has in a real container."""
    os.chroot(about["root"])
    os.chdir(about["folder"])
    for capability in range(64):
        LIBC.prctl(DROP_FROM_BOUND, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(about["gid"], about["gid"], about["gid"])
    os.setresuid(about["uid"], about["uid"], about["uid"])
    _check(LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _filter_calls()
    os.write(1, BEGUN)
    argv = about["argv"]
    # A shell starts its background jobs with SIGINT ignored, and so would everything below them.
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, about["env"])  # noqa: S606
    except OSError as error:
        print(f"exec: {argv[0]!r}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


def _filter_calls() -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    _check(LIBC.prctl(SECCOMP, 2, ctypes.byref(Program(1, ALLOW_EVERYTHING)), 0, 0))


def _fork(then: Any) -> int:
    """Start a child that does this and exits with its result. It is killed when this process ends."""
    child = os.fork()
    if child:
        return child
    code = 125
    try:
        LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        code = then()
    except BaseException as error:
        print(f"container: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait_for(child: int) -> int:
    """Forward signals to the child and reap all processes until it has ended; give its exit code."""
    for number in FORWARDED:
        signal.signal(number, lambda number, frame: os.kill(child, number))
    while True:
        process, status = os.wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = [os.fsencode(word) for word in (source, target, kind)]
    _check(LIBC.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {source} at {target}")


def _check(result: int, doing: str = "") -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{doing}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    sys.exit({"main": main, "exec": enter}[sys.argv[1]](json.loads(sys.argv[2])))
