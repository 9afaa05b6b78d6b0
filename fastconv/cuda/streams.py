"""The stream that fastconv computes on, and times on it."""

from __future__ import annotations

from typing import Any

from .. import backends
from ..checks import check
from . import devices


def synchronize(device: Any = None) -> None:
    """Wait until all work started on the GPU is done.

    Parameters
    ----------
    device : int or str, optional
        The current device.

    Raises
    ------
    ValueError
        If ``device`` is not the current device.
    RuntimeError
        If there is no GPU.

    Examples
    --------
    >>> y = fc.ones(3, device="cuda") + 1
    >>> fc.cuda.synchronize()
    """
    devices.check_current("synchronize", device)
    backends.load("cuda").device.synchronize()


class Event:
    """A mark among the work on the GPU: it is reached when all work that was started before is done.

    Two events measure how long the work between them takes. Under the simulator they take the time of the
    host, where work is done when a call returns.

    Parameters
    ----------
    enable_timing : bool
        Whether the event keeps the time.

    Examples
    --------
    >>> start, end = fc.cuda.Event(enable_timing=True), fc.cuda.Event(enable_timing=True)
    >>> start.record(); y = fc.ones(3, device="cuda") + 1; end.record()
    >>> end.synchronize()
    >>> start.elapsed_time(end) > 0  # milliseconds
    True
    """

    def __init__(self, enable_timing: bool = False) -> None:
        self.enable_timing = bool(enable_timing)
        self._event: Any = (
            None  # made when it is recorded, so that an event can be made before the GPU is used
        )

    def record(self, stream: Stream | None = None) -> None:
        """Set the mark after all work started until now; a second call moves it.

        ``stream`` may be what :func:`current_stream` returns.
        """
        given: Any = stream
        check(
            given is None or isinstance(given, Stream),
            "Event.record",
            f"expected fc.cuda.current_stream(), got {type(given).__name__}",
            TypeError,
        )
        engine = backends.load("cuda")
        if self._event is None:
            self._event = engine.events.event(self.enable_timing)
        self._event.record(engine.device.stream())

    def query(self) -> bool:
        """Whether the mark is reached; True for an event that was not recorded."""
        return self._event is None or bool(self._event.query())

    def synchronize(self) -> None:
        """Wait until the mark is reached."""
        if self._event is not None:
            self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to ``end_event``, both recorded and reached.

        Raises
        ------
        ValueError
            If one of them keeps no time, was not recorded, or is not reached yet.
        """
        name, both = "Event.elapsed_time", (self, end_event)
        check(all(e.enable_timing for e in both), name, "both events must be made with enable_timing=True")
        check(all(e._event is not None for e in both), name, "both events must be recorded")
        check(
            all(e.query() for e in both), name, "an event is not reached yet; call synchronize() of it first"
        )
        return float(self._event.elapsed_time(end_event._event))


class Stream:
    """The stream that fastconv computes on. A process has one, so every ``Stream()`` is the same.

    Attributes
    ----------
    cuda_stream : int
        The driver's pointer, for other libraries: ``torch.cuda.ExternalStream(stream.cuda_stream)``. 0 under
        the simulator.

    Examples
    --------
    >>> stream = fc.cuda.current_stream()
    >>> event = stream.record_event()
    >>> stream.synchronize()
    >>> event.query(), stream == fc.cuda.Stream()
    (True, True)
    """

    def __init__(self) -> None:
        device = backends.load("cuda").device
        stream = device.stream()
        self.cuda_stream: int = 0 if device.on_host else int(stream)

    def synchronize(self) -> None:
        """Wait until all work started on the stream is done."""
        synchronize()

    def query(self) -> bool:
        """Whether all work started on the stream is done."""
        return self.record_event().query()

    def record_event(self, event: Event | None = None) -> Event:
        """Record ``event``, or a new one, and return it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.cuda_stream == other.cuda_stream

    def __hash__(self) -> int:
        return hash(self.cuda_stream)


def current_stream(device: Any = None) -> Stream:
    """The stream that fastconv computes on (:class:`Stream`); arguments and errors as :func:`synchronize`.

    Examples
    --------
    >>> fc.cuda.current_stream().cuda_stream >= 0
    True
    """
    devices.check_current("current_stream", device)
    return Stream()
