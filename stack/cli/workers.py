"""Several processes on the queues of one device, and the one that looks after them.

    supervisor   opens the device with all its queues; starts, watches and replaces the workers
    worker       one process, one queue, one host with the same addresses and listeners as the others

The kernel chooses a packet's queue by a hash of its addresses and ports: at first by the hash alone, then by where it
last had a packet of that flow from, and after three seconds without one by the hash alone again (`drivers/net/tun.c`).
A worker answers only what came out of its own queue, on that queue, so all three are the same one for as long as there
are as many queues. Hence the supervisor opens all of them before the device is up, and keeps each open whatever becomes
of its worker: one that dies leaves its queue, and what waits in it, to its replacement. Its connections are gone as
after a reboot: the replacement answers their next segment with a reset. Those of the other workers notice nothing. A
connection that a worker opened by itself would not be so lucky, for the answers' hash may lead elsewhere; so workers
serve and do nothing else.

The supervisor has neither threads nor an event loop, so it may fork at any time: a worker begins with all that was read
and checked already, and a replacement serves within milliseconds. The first worker goes ahead of the others: what is
wrong for it is wrong for all, and is said once. From then on a worker that ends is replaced, at once if it has served
for a while and ever more slowly if not. Each worker is in a session of its own, so that Ctrl-C reaches the supervisor
alone, which ends them in order; and each holds a socket whose other end only the supervisor has, so that it ends when
the supervisor does, however that comes about.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import trio

from stack.cli.network import Network, NetworkOptions
from stack.cli.terminal import FAILURE, USAGE, CommandError, run
from stack.link import device
from stack.link.protocol import LinkError
from stack.link.shared import SharedLink
from stack.link.tun import TunLink, open_queues
from stack.runtime.open import open_host
from stack.wire.packet import Packet

MOST = 64  #: Workers; each costs the supervisor six descriptors, and 1024 is a usual limit.
DELAYS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  #: Seconds before a worker is replaced, by how often it failed in a row.
SETTLED = 30.0  #: Seconds of service after which a worker's end is its first failure.
PATIENCE = 8.0  #: Seconds that workers get to end in order.

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SERVING = b"s"


class Observer:
    """Is told what becomes of the workers; numbers count from 1."""

    def all_serve(self, device: str, pids: list[int]) -> None:
        """For the first time, each worker is serving; `pids` are theirs, in order."""

    def worker_ended(self, number: int, pid: int, how: str, again: float) -> None:
        """A worker ended by itself, and will be replaced after `again` seconds."""

    def worker_serves(self, number: int, pid: int) -> None:
        """A replacement is serving."""


class Place:
    """What a worker's process is given: its number, its queue, and whom to tell that it serves."""

    def __init__(self, worker: _Worker, others: list[_Worker], options: NetworkOptions, line: socket.socket) -> None:
        self.number = worker.number
        self.options = options
        self._queue = worker.queue
        self._inbox = worker.inbox
        self._outboxes = [other.outbox for other in others]
        self._line = line
        self._pcap = None if options.pcap is None else capture_path(options.pcap, worker.number, worker.starts)
        self._listens = trio.Event()

    @asynccontextmanager
    async def open_network(self) -> AsyncIterator[Network]:
        """A host on the queue, which is read as soon as it is `serving`; it ends, too, when the supervisor does."""
        options = self.options
        link = _Queue(self._queue, self._inbox, self._outboxes, self._listens)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            async with open_host(link, addresses=options.addresses, options=options.tcp, capture=self._pcap) as host:
                yield Network(host, self._queue, options)
            nursery.cancel_scope.cancel()

    def serving(self) -> None:
        """To be called when the worker accepts connections."""
        self._listens.set()
        with contextlib.suppress(OSError):  # the supervisor is gone; the watch will see that
            self._line.send(_SERVING)

    async def _watch(self, scope: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(self._line)
        scope.cancel()


Work = Callable[[Place], Awaitable[int]]


class _Queue(SharedLink):
    """A queue that is read from when its process `listens`: the SYNs that waited in it would be refused before that."""

    def __init__(
        self, queue: TunLink, inbox: socket.socket, outboxes: list[socket.socket], listens: trio.Event
    ) -> None:
        super().__init__(queue, inbox, outboxes)
        self._listens = listens

    def read_batch(self, limit: int) -> list[Packet]:
        return super().read_batch(limit) if self._listens.is_set() else []

    async def wait_readable(self) -> None:
        await self._listens.wait()
        await super().wait_readable()


class Backoff:
    """How long to wait before a worker is replaced: the longer the more often it has ended soon."""

    def __init__(self) -> None:
        self._failures = 0  # in a row

    def after(self, served: float) -> float:
        """Seconds to wait after a process that has served for so many."""
        if served >= SETTLED:
            self._failures = 0
        delay = DELAYS[min(self._failures, len(DELAYS) - 1)]
        self._failures += 1
        return delay


def capture_path(path: Path, number: int, starts: int) -> Path:
    """Where a worker writes its packets: serve.pcapng is serve.w2.pcapng for the second one, serve.w2-3.pcapng for the
    process that was the third to take its place."""
    again = f"-{starts}" if starts > 1 else ""
    return path.with_name(f"{path.stem}.w{number}{again}{path.suffix}")


def supervise(count: int, options: NetworkOptions, work: Work, observer: Observer) -> int:
    """Run `work` in `count` processes, each on a queue of the device, until a signal comes; returns the exit status.

    `work` runs under Trio and is cancelled to end it. Raises `LinkError`, `CommandError`.
    """
    if options.impair is not None:
        raise CommandError(
            "--impair makes one path worse, and each of several workers would have a path of its own",
            "leave out --workers",
            status=USAGE,
        )
    links = open_queues(options.tun, count, options.kernel, options.mtu, offload=options.offload)
    try:
        for address in options.addresses:
            links[0].check_address(address)
        with _Supervisor(links, options, work, observer) as supervisor:
            return supervisor.run()
    finally:
        for link in links:
            link.close()


class _Worker:
    """What the supervisor knows of one; the queue and the two ends of the inbox stay when the process changes."""

    def __init__(self, number: int, queue: TunLink) -> None:
        self.number = number
        self.queue = queue
        self.outbox, self.inbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.pid = 0  # 0: no process now
        self.handle = -1  # a descriptor of the process; readable when it has ended
        self.line: socket.socket | None = None  # from it comes one octet when the process serves
        self.starts = 0  # processes so far
        self.backoff = Backoff()
        self.due: float | None = None  # when the next process is to be started
        self.serving_since: float | None = None

    def let_go(self) -> None:
        """Close what belongs to the process."""
        if self.handle >= 0:
            os.close(self.handle)
        if self.line is not None:
            self.line.close()
        self.pid, self.handle, self.line, self.serving_since = 0, -1, None, None

    def close(self) -> None:
        """Close what stays when the process changes, but for the queue."""
        self.let_go()
        self.inbox.close()
        self.outbox.close()


class _Supervisor:
    """All workers, and the loop that watches them."""

    def __init__(self, links: list[TunLink], options: NetworkOptions, work: Work, observer: Observer) -> None:
        self._options = options
        self._work = work
        self._observer = observer
        self._workers = [_Worker(number, link) for number, link in enumerate(links, 1)]
        self._selector = selectors.DefaultSelector()
        self._announced = False

    def __enter__(self) -> _Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_all()
        self._selector.close()
        for worker in self._workers:
            worker.close()

    def run(self) -> int:
        """Start the workers and replace those that end, until a signal comes or the first can't serve."""
        with _signals() as received:
            self._selector.register(received, selectors.EVENT_READ)
            try:
                self._workers[0].due = time.monotonic()
                while True:
                    self._start_due()
                    for key, _ in self._selector.select(self._until_due()):
                        if key.fileobj is received:
                            return 128 + received.recv(1)[0]
                        status = self._on_event(key.data, key.fd)
                        if status is not None:
                            return status
            finally:
                self._end_all(received)
                self._selector.unregister(received)

    # What happens.

    def _on_event(self, worker: _Worker, fd: int) -> int | None:
        """A worker has something to say, or has ended; an exit status, if that ends everything."""
        if worker.line is not None and fd == worker.line.fileno():
            self._selector.unregister(worker.line)
            if worker.line.recv(1) == _SERVING:
                self._on_serving(worker)
        elif fd == worker.handle:
            return self._on_end(worker)
        return None

    def _on_serving(self, worker: _Worker) -> None:
        worker.serving_since = time.monotonic()
        if self._announced:
            self._observer.worker_serves(worker.number, worker.pid)
            return
        for other in self._workers:
            if not other.starts:
                other.due = worker.serving_since
        if all(other.serving_since is not None for other in self._workers):
            self._announced = True
            self._observer.all_serve(worker.queue.name, [other.pid for other in self._workers])

    def _on_end(self, worker: _Worker) -> int | None:
        pid, since = worker.pid, worker.serving_since
        status = self._collect(worker)
        self._check_device(worker)
        if sum(other.starts for other in self._workers) == 1 and since is None:
            if status < 0:
                raise CommandError(f"the first worker was {_in_words(status)} before it served")
            return status or FAILURE  # it has said why
        served = 0.0 if since is None else time.monotonic() - since
        self._try_again(worker, pid, _in_words(status), served)
        return None

    def _try_again(self, worker: _Worker, pid: int, how: str, served: float = 0.0) -> None:
        delay = worker.backoff.after(served)
        worker.due = time.monotonic() + delay
        self._observer.worker_ended(worker.number, pid, how, delay)

    def _check_device(self, worker: _Worker) -> None:
        """Without its device nobody can serve, and no replacement would do better."""
        try:
            device.adopt(worker.queue.fileno())
        except LinkError as error:
            raise LinkError(errno.EBADFD, f"the device {worker.queue.name} was removed") from error

    # Processes.

    def _until_due(self) -> float | None:
        due = [worker.due for worker in self._workers if worker.due is not None]
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.due is not None and worker.due <= now:
                worker.due = None
                try:
                    self._start(worker)
                except OSError as error:  # no more processes or descriptors; that may pass
                    if not self._announced:
                        raise
                    worker.let_go()
                    self._try_again(worker, 0, f"not started: {error.strerror}")

    def _start(self, worker: _Worker) -> None:
        sys.stdout.flush()  # or both would write what waits there
        sys.stderr.flush()
        worker.starts += 1
        worker.line, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            worker.pid = os.fork()
            if worker.pid == 0:
                self._become(worker, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            theirs.close()
        worker.handle = os.pidfd_open(worker.pid)
        self._selector.register(worker.line, selectors.EVENT_READ, worker)
        self._selector.register(worker.handle, selectors.EVENT_READ, worker)

    def _become(self, worker: _Worker, line: socket.socket) -> NoReturn:
        """The worker's process, from its first moment to its last."""
        status = FAILURE
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._selector.close()
            others = [other for other in self._workers if other is not worker]
            for other in others:
                other.let_go()
                other.inbox.close()
                other.queue.close()
            worker.let_go()
            worker.outbox.close()
            place = Place(worker, others, self._options, line)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = run(lambda: self._work(place))
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _collect(self, worker: _Worker) -> int:
        """Forget a process that has ended; its exit status, or its signal as a negative number."""
        _, status = os.waitpid(worker.pid, 0)
        for registered in (worker.line, worker.handle):
            with contextlib.suppress(KeyError, ValueError):  # it was told already that it serves
                self._selector.unregister(registered or -1)
        worker.let_go()
        return os.waitstatus_to_exitcode(status)

    def _end_all(self, received: socket.socket | None = None) -> None:
        """End all workers in order; at once when another signal comes, or they take too long."""
        running = [worker for worker in self._workers if worker.pid]
        for worker in running:
            signal.pidfd_send_signal(worker.handle, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while running:
            left = deadline - time.monotonic()
            events = self._selector.select(left) if left > 0 else []
            ended = {key.fd for key, _ in events}
            if not events or (received is not None and received.fileno() in ended):
                for worker in running:
                    signal.pidfd_send_signal(worker.handle, signal.SIGKILL)
                    self._collect(worker)
                return
            for worker in running:
                if worker.handle in ended:
                    self._collect(worker)
                elif worker.line is not None and worker.line.fileno() in ended:
                    self._selector.unregister(worker.line)
            running = [worker for worker in running if worker.pid]


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket from which each signal that would end us comes as an octet, its number."""
    ours, pythons = socket.socketpair()
    ours.setblocking(False)
    pythons.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    previous = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        pythons.close()


def _in_words(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
