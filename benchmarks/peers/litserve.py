"""LitServe with our network for inference: `python -m benchmarks.peers.litserve STORE NAME PORT`.

One worker with all processor threads. A request is a form with a file, since LitServe does not take raw bodies.
"""

import sys
from pathlib import Path

import litserve
import torch
from fastapi import Response, UploadFile

from benchmarks.floor import Stylizer
from model_store import ModelStore


class Stylize(litserve.LitAPI):  # type: ignore[misc] # the type is unknown without the extra
    """JPEG in, JPEG out."""

    def __init__(self, root: str, name: str) -> None:
        super().__init__()
        self._root, self._name = root, name

    def setup(self, _device: str) -> None:
        """Load the network, once for each worker."""
        self._stylizer = Stylizer(ModelStore(Path(self._root)), self._name, torch.get_num_threads())

    def decode_request(self, request: UploadFile) -> bytes:
        """The file of the form."""
        return request.file.read()

    def predict(self, photo: bytes) -> bytes:
        """Decode, stylize, encode."""
        return self._stylizer.stylize(photo)

    def encode_response(self, output: bytes) -> Response:
        """The JPEG file as the body."""
        return Response(output, media_type="image/jpeg")


if __name__ == "__main__":
    root, name, port = sys.argv[1:]
    server = litserve.LitServer(Stylize(root, name), accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")
