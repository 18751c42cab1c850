"""``runtime/cuda.py`` on a real GPU: memory, copies, streams, events, graphs, errors, contexts, threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dccnet.runtime.cuda import Device, devices
from dccnet.runtime.device_arrays import device_view
from dccnet.runtime.errors import EngineError

pytestmark = pytest.mark.cuda
BYTES = 1 << 20


def test_gpus_are_described_as_pytorch_describes_them(gpu: Device) -> None:
    found = devices()
    assert len(found) == torch.cuda.device_count()
    for index, described in enumerate(found):
        properties = torch.cuda.get_device_properties(index)
        assert described.name == properties.name == torch.cuda.get_device_name(index)
        assert described.capability == (properties.major, properties.minor)
        assert described.total_memory == properties.total_memory


def test_bytes_come_back_as_they_went(gpu: Device) -> None:
    with gpu.activate():
        stream, a, b = gpu.create_stream(), gpu.allocate(BYTES), gpu.allocate(BYTES)
        up, down = gpu.allocate_host(BYTES), gpu.allocate_host(BYTES)
        up[:] = np.random.default_rng(0).integers(0, 256, BYTES, np.uint8)
        down[:] = 0
        gpu.copy_to_device(a, up, stream)
        gpu.copy_on_device(b, a, BYTES, stream)
        gpu.copy_to_host(down, b, stream)
        gpu.synchronize(stream)
        same = bool((up == down).all())  # before the memory is freed
        for pointer in (a, b):
            gpu.free(pointer)
        for array in (up, down):
            gpu.free_host(array)
        gpu.destroy_stream(stream)
    assert same


def test_events_measure_time(gpu: Device) -> None:
    with gpu.activate():
        stream, pointer = gpu.create_stream(), gpu.allocate(64 * BYTES)
        start, end = gpu.create_event(), gpu.create_event()
        gpu.record(start, stream)
        gpu.copy_on_device(pointer + 32 * BYTES, pointer, 32 * BYTES, stream)
        gpu.record(end, stream)
        gpu.synchronize(stream)
        elapsed = gpu.milliseconds(start, end)
        for event in (start, end):
            gpu.destroy_event(event)
        gpu.free(pointer)
        gpu.destroy_stream(stream)
    assert 0 < elapsed < 1000


def test_a_graph_replays_on_another_stream_with_other_bytes(gpu: Device) -> None:
    with gpu.activate():
        own, other, pointer = gpu.create_stream(), gpu.create_stream(), gpu.allocate(BYTES)
        up, down = gpu.allocate_host(BYTES), gpu.allocate_host(BYTES)
        with gpu.capture(own) as graph:
            gpu.copy_to_device(pointer, up, own)
            gpu.copy_to_host(down, pointer, own)
        found = []
        for value in (7, 9):
            up[:], down[:] = value, 0
            graph.launch(other)
            gpu.synchronize(other)
            found.append(set(down.tolist()))
        graph.destroy()
        gpu.free(pointer)
        for array in (up, down):
            gpu.free_host(array)
        for stream in (own, other):
            gpu.destroy_stream(stream)
    assert found == [{7}, {9}]


def test_a_stream_can_be_used_after_a_capture_that_failed(gpu: Device) -> None:
    with gpu.activate():
        stream, pointer = gpu.create_stream(), gpu.allocate(BYTES)
        with pytest.raises(EngineError, match="capturing"), gpu.capture(stream):
            gpu.synchronize(stream)  # not allowed during a capture
        with gpu.capture(stream) as graph:
            gpu.copy_on_device(pointer + BYTES // 2, pointer, BYTES // 2, stream)
        graph.launch(stream)
        gpu.synchronize(stream)
        graph.destroy()
        gpu.free(pointer)
        gpu.destroy_stream(stream)


def test_our_copy_waits_for_the_kernels_of_another_stream(gpu: Device) -> None:
    """PyTorch writes on a stream of its own; DLPack and an event make our stream wait for it."""
    side = torch.cuda.Stream()
    with gpu.activate():
        own, target, host = gpu.create_stream(), gpu.allocate(4 * BYTES), gpu.allocate_host(4 * BYTES)
        event = gpu.create_event()
        wrong = 0
        for value in range(1, 6):
            with torch.cuda.stream(side):
                x = torch.zeros(4 * BYTES, dtype=torch.uint8, device="cuda")
                torch.cuda._sleep(20_000_000)
                x.fill_(value)
                view = device_view(x, 0)
            assert view is not None and view.stream is not None
            gpu.record(event, view.stream)
            gpu.wait(own, event)
            gpu.copy_on_device(target, view.pointer, 4 * BYTES, own)
            gpu.copy_to_host(host, target, own)
            gpu.synchronize(own)
            wrong += int((host != value).any())
        gpu.destroy_event(event)
        gpu.free(target)
        gpu.free_host(host)
        gpu.destroy_stream(own)
    assert wrong == 0


def test_an_allocation_that_fails_leaves_everything_usable(gpu: Device) -> None:
    with gpu.activate():
        with pytest.raises(EngineError, match="out of memory: close other programs"):
            gpu.allocate(1 << 45)
        gpu.free(gpu.allocate(1024))
    assert float(torch.ones(4, device="cuda").sum()) == 4


def test_contexts_of_the_caller_stay_current(gpu: Device) -> None:
    """A thread without a context has none afterwards; a thread with a context of its own keeps it."""
    from cuda.bindings import driver

    found: dict[str, object] = {}

    def on_a_new_thread() -> None:
        with gpu.activate():
            gpu.free(gpu.allocate(1024))
        found["none"] = int(driver.cuCtxGetCurrent()[1])
        error, own = driver.cuCtxCreate(None, 0, 0)
        found["created"] = int(error)
        with gpu.activate(), gpu.activate():
            gpu.free(gpu.allocate(1024))
        found["kept"] = int(driver.cuCtxGetCurrent()[1]) == int(own)
        driver.cuCtxDestroy(own)

    thread = threading.Thread(target=on_a_new_thread)
    thread.start()
    thread.join()
    assert found == {"none": 0, "created": 0, "kept": True}


def test_threads_do_not_disturb_each_other(gpu: Device) -> None:
    def copies(number: int) -> int:
        wrong = 0
        with gpu.activate():
            stream, pointer = gpu.create_stream(), gpu.allocate(BYTES)
            up, down = gpu.allocate_host(BYTES), gpu.allocate_host(BYTES)
            for turn in range(20):
                up[:], down[:] = (number + turn) % 256, 0
                gpu.copy_to_device(pointer, up, stream)
                gpu.copy_to_host(down, pointer, stream)
                gpu.synchronize(stream)
                wrong += int((down != (number + turn) % 256).any())
            gpu.free(pointer)
            for array in (up, down):
                gpu.free_host(array)
            gpu.destroy_stream(stream)
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(copies, range(8))) == 0
