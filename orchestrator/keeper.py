"""Runs one command, and ends it with everything that it started once its owner is gone.

`python -I keeper.py [--give-input] OWNER GRACE COMMAND...`, the owner holding the other end of standard input. A script
of its own, standard library only, because only another process can act after the owner was killed with -9.
`PR_SET_PDEATHSIG` on the command alone isn't enough: it doesn't reach grandchildren, and SGLang's set their own only
after ten seconds of imports.

SIGTERM asks for a gentle end: SIGTERM to the command, SIGKILL to its process group after GRACE seconds. The owner's
death (standard input ends; on Linux also SIGHUP) kills the group at once. Exits as a shell does: the command's code, or
128 + the signal that ended it.

With --give-input, standard input is the command's to read. That it ends is then the owner's way to ask for a gentle
end, as it is for every MCP server: the group has GRACE seconds before SIGKILL. An end that nobody asked for is said on
standard error.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
OWNER_IS_GONE = signal.SIGHUP
VANISHING = 5.0
"""Seconds that the group's killed processes may take to be gone."""


def prctl(option: int, value: int) -> None:
    """Linux's; nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Has the kernel send `number` to this process when `parent` ends."""
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the call
        os._exit(128 + number)


def to_wake_up(_number: int, _frame: object) -> None:
    """Does nothing: that the signal has a handler makes it write to the wake-up pipe."""


def signal_group(group: int, number: int) -> bool:
    """Whether the group still has a process to signal; number 0 only asks."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says PermissionError of a group of zombies
        return False
    return True


def await_end_of_group(group: int) -> None:
    deadline = time.monotonic() + VANISHING
    while signal_group(group, 0) and time.monotonic() < deadline:
        try:
            reaped, _ = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:  # the rest isn't ours
            reaped = 0
        if not reaped:
            time.sleep(0.01)


def keep(command: "subprocess.Popen[bytes]", wake: int, grace: float, *, gives_input: bool) -> bool:
    """Returns when the command has ended, or has to be killed; whether its end was asked for."""
    give_up_at: float | None = None
    watched, stdin = select.poll(), sys.stdin.fileno()
    watched.register(wake, select.POLLIN)
    watched.register(stdin, 0 if gives_input else select.POLLIN)  # a hang-up is told of unasked
    while command.poll() is None:
        left = None if give_up_at is None else give_up_at - time.monotonic()
        if left is not None and left <= 0:
            return True
        ready = [fd for fd, _ in watched.poll(None if left is None else left * 1000)]
        signals = os.read(wake, 64) if wake in ready else b""
        if OWNER_IS_GONE in signals or (stdin in ready and not gives_input):
            return True
        if stdin in ready:
            watched.unregister(stdin)
            give_up_at = give_up_at or time.monotonic() + grace
        if signal.SIGTERM in signals and give_up_at is None:
            command.terminate()  # not the group: SGLang takes a child's end for a crash
            give_up_at = time.monotonic() + grace
    return give_up_at is not None


def main(owner: int, grace: float, words: list[str], *, gives_input: bool) -> int:
    wake, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    for number in (signal.SIGCHLD, signal.SIGTERM, OWNER_IS_GONE):
        signal.signal(number, to_wake_up)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # the command's orphans become ours to reap; not every container has an init
    die_with_parent(owner, OWNER_IS_GONE)
    me = os.getpid()
    try:
        command = subprocess.Popen(  # noqa: S603
            words,
            stdin=None if gives_input else subprocess.DEVNULL,
            process_group=0,
            preexec_fn=lambda: die_with_parent(me, signal.SIGKILL),  # safe: this process has one thread
        )
    except OSError as error:
        print(f"can't start {words[0]}: {error}", file=sys.stderr)  # noqa: T201
        return 127
    asked = keep(command, wake, grace, gives_input=gives_input)
    signal_group(command.pid, signal.SIGKILL)
    code = command.wait()
    await_end_of_group(command.pid)
    if gives_input and not asked:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        print(f"{words[0]} ended ({how})", file=sys.stderr)  # noqa: T201
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    given = sys.argv[1] == "--give-input"
    owner, grace, *words = sys.argv[1 + given :]
    sys.exit(main(int(owner), float(grace), words, gives_input=given))
