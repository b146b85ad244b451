"""ONNX: one graph with its weights, for onnxruntime, OpenVINO, TensorRT and others. https://onnx.ai"""

import warnings
from typing import TYPE_CHECKING

import torch

from model_store.errors import ExportFailed, MissingExtra
from model_store.exporters.facts import facts
from model_store.exporters.graph import answers, require_equal, trace
from model_store.store import StoredModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 18
"""The first version of the operators in which Resize is antialiased."""


def onnx_bytes(model: StoredModel) -> bytes:
    """The file, which onnxruntime has run on images of several sizes with the answers of the network.

    Raises MissingExtra without onnx, onnxscript and onnxruntime, ExportFailed where answers differ.
    """
    label = model.manifest.label
    _require_libraries()
    content = _write(trace(model.network, label), model)
    _check(content, model)
    return content


def _require_libraries() -> None:
    try:
        import onnx  # noqa: F401, PLC0415 - an optional extra
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtra(f"ONNX needs {error.name}: pip install 'pastiche[export]'") from error


def _write(program: "ExportedProgram", model: StoredModel) -> bytes:
    manifest = model.manifest
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch, about its own parts
            written = torch.onnx.export(
                program,
                input_names=["image"],
                output_names=["output"],
                dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever the converter raises
        reason = " ".join(str(error).split())[:200]
        raise ExportFailed(f"{manifest.label} cannot be written as ONNX: {reason}") from error
    assert written is not None
    proto = written.model_proto
    proto.producer_name, proto.model_version, proto.doc_string = "pastiche", manifest.version, manifest.description
    for name, value in facts(manifest).items():
        proto.metadata_props.add(key=name, value=value)
    content: bytes = proto.SerializeToString()
    return content


def _check(content: bytes, model: StoredModel) -> None:
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for image, expected in [*answers(model.network), (model.golden.batch(), model.golden.output)]:
        (found,) = session.run(None, {"image": image.numpy()})
        require_equal(torch.from_numpy(found), expected, f"{model.manifest.label} as ONNX")
