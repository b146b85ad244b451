"""A plain FastAPI service: `python -m benchmarks.peers.naive STORE PORT`.

FastAPI and uvicorn, a sync endpoint in the default pool of 40 threads, Pillow, eager fp32 PyTorch as trained, with
torch's own settings: on a GPU convolutions are computed in TF32.
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Response, UploadFile
from PIL import Image

from model_store import ModelStore


def create_app(store: ModelStore) -> FastAPI:
    """An application that serves every network of the store."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {name: store.load(name).network.eval().to(device) for name in store.names()}
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/stylize/{name}")
    def stylize(name: str, request: UploadFile) -> Response:
        image = np.array(Image.open(request.file).convert("RGB"))
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].float().to(device) / 255
        with torch.no_grad():
            output = networks[name](batch)
        pixels = (output[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=85, subsampling=0)
        return Response(stream.getvalue(), media_type="image/jpeg")

    return app


if __name__ == "__main__":
    root, port = sys.argv[1:]
    uvicorn.run(create_app(ModelStore(Path(root))), host="127.0.0.1", port=int(port), log_level="warning")
