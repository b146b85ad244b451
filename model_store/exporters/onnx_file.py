"""ONNX: one graph with its weights, for onnxruntime, OpenVINO, TensorRT and others. https://onnx.ai"""

import warnings
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model_store.errors import ExportFailed, MissingExtra
from model_store.exporters.facts import facts
from model_store.exporters.graph import answers, check, for_batches_or_one, trace
from model_store.store import StoredModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 18
"""The first version of the operators in which Resize is antialiased."""


def onnx_bytes(model: StoredModel) -> bytes:
    """The file, which onnxruntime has run on images of several sizes with the answers of the network.

    Raises MissingExtra without onnx, onnxscript and onnxruntime, ExportFailed where answers differ.
    """
    _require_libraries()
    return for_batches_or_one(model.network, partial(_checked, model))


def _checked(model: StoredModel, batched: bool) -> bytes:
    content = _write(trace(model.network, model.manifest.label, batched=batched), model, batched)
    _check(content, model, batched)
    return content


def _require_libraries() -> None:
    try:
        import onnx  # noqa: F401, PLC0415 - an optional extra
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtra(f"ONNX needs {error.name}: pip install 'pastiche[export]'") from error


def _write(program: "ExportedProgram", model: StoredModel, batched: bool) -> bytes:
    manifest = model.manifest
    names = {**({0: "batch"} if batched else {}), 2: "height", 3: "width"}
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch, about its own parts
            written = torch.onnx.export(
                program,
                input_names=["image"],
                output_names=["output"],
                dynamic_shapes={"image": names},
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
    for name, value in facts(manifest, batched=batched).items():
        proto.metadata_props.add(key=name, value=value)
    content: bytes = proto.SerializeToString()
    return content


def _check(content: bytes, model: StoredModel, batched: bool) -> None:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, too
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        (found,) = session.run(None, {"image": image.numpy()})
        return torch.from_numpy(found)

    known = [*answers(model.network, batched=batched), (model.golden.batch(), model.golden.output)]
    check(run, known, f"{model.manifest.label} as ONNX")
