"""Signals of a scheduler: each is heard at once, whichever thread the kernel gives it to, and not by what lies between fork and exec."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def heard(tell: Callable[[int], None]) -> Iterator[None]:
    """`tell` is called with the number of each, in a thread of its own. Call it in the main thread.

    A handler of Python's would run in the main thread, which nothing wakes if another one was given the signal; the kernel does so
    as soon as the main thread has one to look at already, as after a reload that a stop follows.
    """
    with ExitStack() as ends:
        ours, theirs = (ends.enter_context(end) for end in socket.socketpair())
        theirs.setblocking(False)
        for number in SIGNALS:
            ends.callback(signal.signal, number, signal.signal(number, lambda *_: None))
        ends.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False))

        def listen() -> None:
            while number := ours.recv(1):
                if number[0] in SIGNALS:
                    tell(number[0])

        listener = threading.Thread(target=listen, name="signals", daemon=True)
        listener.start()
        ends.callback(listener.join)
        ends.callback(theirs.shutdown, socket.SHUT_WR)
        yield


@contextmanager
def held_back() -> Iterator[set[int]]:
    """They come later. Yields the mask of before, for a child to set once no handler of ours is left in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
