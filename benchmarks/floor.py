"""The cost floor: decode, network and encode in bare loops on all cores. No service can do better in the same form.

`python -m benchmarks.floor THREADS STORE NAME PHOTO…` warms up, says "ready", and for each number on standard input
paints the photo of that number and says "done".
"""

import io
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count as counting
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.load import Answer, Outcome
from benchmarks.machine import environment
from model_store import ModelStore, for_inference
from service.engine.device import choose_device, choose_precision


class Painter:
    """Our fast network with a JPEG on either side of it, on so many threads of this process."""

    def __init__(self, store: ModelStore, name: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = choose_device("auto")
        precision = choose_precision("auto", self._device)
        self._network = for_inference(store.load(name).network, precision).to(self._device)

    @torch.inference_mode()
    def paint(self, photo: bytes) -> bytes:
        """Decode, network, encode."""
        image = np.array(Image.open(io.BytesIO(photo)).convert("RGB"))
        batch = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float().div_(255)
        output = self._network(batch).mul_(255).round_().to(torch.uint8)
        stream = io.BytesIO()
        Image.fromarray(output[0].permute(1, 2, 0).contiguous().cpu().numpy()).save(
            stream, "JPEG", quality=85, subsampling=0
        )
        return stream.getvalue()


class Loop:
    """A process that paints one photo after another."""

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
        """Until it has done what it was told. Raises RuntimeError where it ended instead."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the floor ended with status {self._process.wait()}")

    def paint(self, number: int) -> None:
        """Have the photo of that number painted and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        self.wait()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()


class Floor:
    """Loops that take the photos in turn, each the next as soon as it is free."""

    def __init__(self, loops: Sequence[Loop], photos: int) -> None:
        self._loops = loops
        self._photos = photos

    def run(self, seconds: float, count: int | None = None) -> Outcome:
        """Paint for so long, or so many photos, whichever is less."""
        numbers = counting()
        began = time.monotonic()

        def work(loop: Loop) -> list[Answer]:
            answers = []
            while (now := time.monotonic() - began) < seconds and (number := next(numbers)) < (count or sys.maxsize):
                loop.paint(number % self._photos)
                answers.append(Answer("ok", now, time.monotonic() - began - now, number % self._photos, 200))
            return answers

        with ThreadPoolExecutor(len(self._loops)) as pool:
            answers = [answer for found in pool.map(work, self._loops) for answer in found]
        return Outcome(tuple(answers), max(answer.began + answer.seconds for answer in answers), 0.0)


@contextmanager
def floor(processes: int, threads: int, store: Path, name: str, photos: Sequence[Path]) -> Iterator[Floor]:
    """So many processes of so many threads, for the length of the block, with the service's allocator settings."""
    with ExitStack() as stack:
        loops = []
        for _ in range(processes):
            loops.append(Loop(threads, store, name, photos))
            stack.callback(loops[-1].close)
        for loop in loops:
            loop.wait()
        yield Floor(loops, len(photos))


def main() -> None:
    """See the module."""
    threads, root, name, *files = sys.argv[1:]
    painter = Painter(ModelStore(Path(root)), name, int(threads))
    photos = [Path(file).read_bytes() for file in files]
    for photo in photos:  # each shape once: what is set up for a shape is not part of the floor
        painter.paint(photo)
    print("ready", flush=True)
    for line in sys.stdin:
        painter.paint(photos[int(line)])
        print("done", flush=True)


if __name__ == "__main__":
    main()
