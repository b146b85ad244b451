"""The floor: decoding, network and encoding in loops without a service, a lower bound of the cost of a request.

`python -m benchmarks.floor THREADS STORE NAME PHOTO…` warms up, says "ready", and for each number on standard input
stylizes the photo of that number and says "done".
"""

import io
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count as count_up
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.errors import BenchmarkError
from benchmarks.load import Answer, Outcome
from benchmarks.machine import environment
from model_store import ModelStore, for_inference
from service.engine.device import choose_devices, choose_precisions


class Stylizer:
    """Stylizes JPEG files with the network for inference, on `threads` threads of this process."""

    def __init__(self, store: ModelStore, name: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = choose_devices(["auto"])[0]
        precision = choose_precisions("auto", self._device)[0]
        self._network = for_inference(store.load(name).network, precision).to(self._device)

    @torch.inference_mode()
    def stylize(self, photo: bytes) -> bytes:
        """JPEG to JPEG of the same size."""
        image = np.array(Image.open(io.BytesIO(photo)).convert("RGB"))
        batch = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float().div_(255)
        output = self._network(batch).mul_(255).round_().to(torch.uint8)
        stream = io.BytesIO()
        Image.fromarray(output[0].permute(1, 2, 0).contiguous().cpu().numpy()).save(
            stream, "JPEG", quality=85, subsampling=0
        )
        return stream.getvalue()


class Loop:
    """A child process that stylizes one photo after another."""

    def __init__(self, threads: int, store: Path, name: str, photos: Sequence[Path]) -> None:
        arguments = [str(threads), str(store), name, *map(str, photos)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.floor", *arguments],
            env=environment(allocator=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Wait until it has started or finished its photo. Raises BenchmarkError if the process ends instead."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise BenchmarkError(f"the floor ended with status {self._process.wait()}")

    def stylize(self, number: int) -> None:
        """Have the photo with this number stylized and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        self.wait()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()


class Floor:
    """Loops that take the next photo in turn as soon as they are free."""

    def __init__(self, loops: Sequence[Loop], photos: int) -> None:
        self._loops = loops
        self._photos = photos

    def run(self, seconds: float, count: int | None = None) -> Outcome:
        """Stylize photos for `seconds` or until `count`, whichever comes first."""
        numbers = count_up()
        began = time.monotonic()

        def work(loop: Loop) -> list[Answer]:
            answers = []
            while (now := time.monotonic() - began) < seconds and (number := next(numbers)) < (count or sys.maxsize):
                loop.stylize(number % self._photos)
                answers.append(Answer("ok", now, time.monotonic() - began - now, number % self._photos, 200))
            return answers

        with ThreadPoolExecutor(len(self._loops)) as pool:
            answers = [answer for found in pool.map(work, self._loops) for answer in found]
        return Outcome(tuple(answers), max((each.began + each.seconds for each in answers), default=0.0), 0.0)


@contextmanager
def floor(processes: int, threads: int, store: Path, name: str, photos: Sequence[Path]) -> Iterator[Floor]:
    """Run this many processes and threads each, with the allocator settings of the service, during the block."""
    with ExitStack() as stack:
        loops = []
        for _ in range(processes):
            loops.append(Loop(threads, store, name, photos))
            stack.callback(loops[-1].close)
        for loop in loops:
            loop.wait()
        yield Floor(loops, len(photos))


def main() -> None:
    """Stylize photos by number; see the module."""
    threads, root, name, *files = sys.argv[1:]
    stylizer = Stylizer(ModelStore(Path(root)), name, int(threads))
    photos = [Path(file).read_bytes() for file in files]
    for photo in photos:  # each shape once: its setup is not part of the floor
        stylizer.stylize(photo)
    print("ready", flush=True)
    for line in sys.stdin:
        stylizer.stylize(photos[int(line)])
        print("done", flush=True)


if __name__ == "__main__":
    main()
