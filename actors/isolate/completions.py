"""How the end of a piece of V8 work reaches the worker's thread.

mini-racer calls one C function `(callback id, handle)` per context, on the V8 thread. A Python function there would
have to take the interpreter lock on every completion, against the very thread that waits for it. On Linux the function
is therefore libc's own `eventfd_write(fd, value)`: the callback id is the descriptor of an eventfd, the value added to
its counter is the address of the handle. No Python runs on V8's threads at all (measured: 33 µs per dispatch against 60
with a Python callback, 100 isolates, one core). Elsewhere `CallbackPort` does the same with a Python callback.

What both promise, and demand
- A *channel* carries at most one completion at a time: an eventfd's counter is a sum, two handles would be lost in it.
- A channel is closed only after its context is gone. Until then the V8 thread may still write to the descriptor, and
  the number may by then belong to somebody's socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import select
import sys
import threading
from collections.abc import Iterable
from typing import Any, Protocol


class CompletionPort(Protocol):
    """Where completions arrive.

    `watch`, `ready` and what concerns watched channels: on the owner's thread. `open_channel`, `signal`, and `read` and
    `wait` on channels not watched: on any.
    """

    callback: ctypes.c_void_p  # what `new_context` is given

    def fileno(self) -> int:
        """A descriptor that is readable while a watched channel holds a completion."""

    def open_channel(self) -> int:
        """A new channel; its number is the callback id for `evaluate` and `call`."""

    def watch(self, channel: int) -> None:
        """Let `ready` and `fileno` tell of this channel."""

    def read(self, channel: int) -> int:
        """Address of the handle that completed, 0 if nothing did. Does not wait."""

    def wait(self, channel: int, limit_s: float) -> int:
        """Like `read`, waiting up to `limit_s` seconds; 0 if nothing completed in time."""

    def ready(self, limit_s: float) -> Iterable[int]:
        """Watched channels that hold a completion, waiting up to `limit_s` for the first."""

    def signal(self, channel: int) -> None:
        """Complete a channel from the host's side, from any thread; any number of times."""

    def close_channel(self, channel: int) -> None:
        """Forget a channel whose context is gone."""

    def close(self) -> None:
        """Give the port's own descriptors back; when all its channels are closed."""


class EventfdPort:
    """Completions through eventfds and one epoll. Linux."""

    def __init__(self) -> None:
        self._write = ctypes.CDLL(None).eventfd_write
        self.callback = ctypes.cast(self._write, ctypes.c_void_p)
        self._epoll = select.epoll()
        self._watched: set[int] = set()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def open_channel(self) -> int:
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def watch(self, channel: int) -> None:
        self._epoll.register(channel, select.EPOLLIN)
        self._watched.add(channel)

    def read(self, channel: int) -> int:
        try:
            return os.eventfd_read(channel)
        except BlockingIOError:
            return 0

    def wait(self, channel: int, limit_s: float) -> int:
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.poll(max(0.0, limit_s) * 1000)
        return self.read(channel)

    def ready(self, limit_s: float) -> Iterable[int]:
        return [fd for fd, _ in self._epoll.poll(limit_s, 256)]

    def signal(self, channel: int) -> None:
        os.eventfd_write(channel, 1)

    def close_channel(self, channel: int) -> None:
        if channel in self._watched:
            self._watched.discard(channel)
            self._epoll.unregister(channel)
        os.close(channel)

    def close(self) -> None:
        self._epoll.close()


class CallbackPort:
    """The same by a Python callback and a pipe, where there is no eventfd (macOS)."""

    def __init__(self) -> None:
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_void_p)(self._completed)
        self.callback = ctypes.cast(self._function, ctypes.c_void_p)
        self._channels: dict[int, queue.SimpleQueue[int]] = {}
        self._watched: set[int] = set()
        self._next = 1
        self._lock = threading.Lock()
        self._signalled = False
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def _completed(self, channel: int, handle: Any) -> None:
        self._channels[channel].put(handle)
        if channel in self._watched:
            self._arrived.put(channel)
            self._signal()

    def _signal(self) -> None:
        with self._lock:
            if not self._signalled:
                self._signalled = True
                os.write(self._write_fd, b"\0")

    def fileno(self) -> int:
        return self._read_fd

    def open_channel(self) -> int:
        with self._lock:
            channel, self._next = self._next, self._next + 1
        self._channels[channel] = queue.SimpleQueue()
        return channel

    def watch(self, channel: int) -> None:
        self._watched.add(channel)

    def read(self, channel: int) -> int:
        try:
            return self._channels[channel].get_nowait()
        except queue.Empty:
            return 0

    def wait(self, channel: int, limit_s: float) -> int:
        try:
            return self._channels[channel].get(timeout=max(0.0, limit_s))
        except queue.Empty:
            return 0

    def ready(self, limit_s: float) -> Iterable[int]:
        if not select.select([self._read_fd], [], [], limit_s)[0]:
            return []
        with self._lock:  # read the pipe, then drop the flag, then drain: the other order loses a wake-up
            os.read(self._read_fd, 16)
            self._signalled = False
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._arrived.get_nowait())
        return [channel for channel in found if channel in self._watched]

    def signal(self, channel: int) -> None:
        self._completed(channel, 1)

    def close_channel(self, channel: int) -> None:
        self._watched.discard(channel)
        self._channels.pop(channel, None)

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


def default_port() -> CompletionPort:
    """The best port of this platform."""
    return EventfdPort() if sys.platform == "linux" else CallbackPort()
