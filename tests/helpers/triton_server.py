"""A stand-in for Triton's server: KServe's protocol v2 over HTTP, with binary tensors, and over gRPC.

It answers from a :class:`~tests.helpers.triton_repository.Repository` and refuses what the protocol or the
configuration does not allow, as the server does. Needs tritonclient, for the messages of gRPC.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.helpers.triton_repository import DTYPES, Message, Repository, RequestError, ServedModel, Tensors

NUMPY = {name.removeprefix("TYPE_"): dtype for name, dtype in DTYPES.items()}
"""NumPy's types by those of the protocol."""
HEADER_LENGTH = "Inference-Header-Content-Length"


def take(model: ServedModel, tensors: list[dict[str, Any]], content: list[bytes]) -> Tensors:
    """Inputs from what the protocol says about them and their bytes."""
    taken: Tensors = {}
    for tensor, data in zip(tensors, content, strict=True):
        name, dtype = tensor["name"], NUMPY[tensor["datatype"]]
        if name in taken:
            raise RequestError(f"{name} is given twice")
        count = int(np.prod(tensor["shape"])) * np.dtype(dtype).itemsize
        if len(data) != count:
            raise RequestError(f"{name}: {len(data)} bytes, and {tensor['shape']} {dtype} are {count}")
        taken[name] = np.frombuffer(data, dtype).reshape(tensor["shape"])
    model.check(taken)
    return taken


def described(tensor: Message) -> dict[str, Any]:
    (name,), (dtype,) = tensor["name"], tensor["data_type"]
    return {"name": name, "datatype": dtype.removeprefix("TYPE_"), "shape": [-1, *tensor["dims"]]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repository: ClassVar[Repository]
    seen: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.seen.append(f"GET {self.path}")
        match self.path.split("/")[1:]:
            case ["v2", "models", name] if name in self.repository.models:
                model = self.repository.models[name]
                self._send(
                    {
                        "name": name,
                        "versions": [str(model.version)],
                        "platform": "ensemble" if model.steps else "onnxruntime_onnx",
                        "inputs": [described(tensor) for tensor in model.inputs.values()],
                        "outputs": [described(tensor) for tensor in model.outputs.values()],
                    }
                )
            case ["v2", "models", name, "ready"]:
                self._send(None, status=200 if name in self.repository.models else 400)
            case _:
                self._send({"error": "not found"}, status=404)

    def do_POST(self) -> None:
        self.seen.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path.split("/")[1:]:
            case ["v2", "models", name, "infer"] if name in self.repository.models:
                try:
                    self._infer(self.repository.models[name], body)
                except (RequestError, KeyError, ValueError) as error:
                    self._send({"error": str(error)}, status=400)
            case _:
                self._send({"error": "not found"}, status=404)

    def _infer(self, model: ServedModel, body: bytes) -> None:
        length = int(self.headers[HEADER_LENGTH])
        request, data = json.loads(body[:length]), body[length:]
        content = []
        for tensor in request["inputs"]:
            if set(tensor) != {"name", "shape", "datatype", "parameters"}:
                raise RequestError(f"fields {sorted(tensor)}")
            size = tensor["parameters"]["binary_data_size"]
            content.append(data[:size])
            data = data[size:]
        if data:
            raise RequestError(f"{len(data)} bytes that no input has")
        found = self.repository.infer(model.name, take(model, request["inputs"], content))
        outputs, parts = [], []
        for wanted in request["outputs"]:
            if wanted["parameters"] != {"binary_data": True}:
                raise RequestError("only binary outputs are tested")
            value = found[wanted["name"]]
            parts.append(value.tobytes())
            described_output = described(model.outputs[wanted["name"]])
            described_output["shape"] = list(value.shape)
            outputs.append({**described_output, "parameters": {"binary_data_size": len(parts[-1])}})
        answer = {"model_name": model.name, "model_version": str(model.version), "outputs": outputs}
        self._send(answer, b"".join(parts))

    def _send(self, answer: dict[str, Any] | None, binary: bytes = b"", status: int = 200) -> None:
        head = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if binary else "application/json")
        self.send_header("Content-Length", str(len(head) + len(binary)))
        if binary:
            self.send_header(HEADER_LENGTH, str(len(head)))
        self.end_headers()
        self.wfile.write(head + binary)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def serve_http(repository: Repository) -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the requests that it gets."""
    handler = type("Handler", (_Handler,), {"repository": repository, "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", handler.seen
        finally:
            server.shutdown()
            thread.join()


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, repository: Repository, seen: list[str]) -> None:
        self.repository, self.seen = repository, seen

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen.append(f"ModelReady {request.name}")
        return service_pb2.ModelReadyResponse(ready=request.name in self.repository.models)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen.append(f"ModelMetadata {request.name}")
        model = self.repository.models[request.name]
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=model.name,
            versions=[str(model.version)],
            inputs=[tensor(**described(each)) for each in model.inputs.values()],
            outputs=[tensor(**described(each)) for each in model.outputs.values()],
        )

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen.append(f"ModelInfer {request.model_name}")
        model = self.repository.models[request.model_name]
        tensors = [
            {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            for tensor in request.inputs
        ]
        try:
            found = self.repository.infer(
                model.name, take(model, tensors, list(request.raw_input_contents))
            )
        except (RequestError, KeyError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = service_pb2.ModelInferResponse(model_name=model.name, model_version=str(model.version))
        for wanted in request.outputs:
            value, tensor = found[wanted.name], described(model.outputs[wanted.name])
            answer.outputs.add(name=wanted.name, datatype=tensor["datatype"], shape=value.shape)
            answer.raw_output_contents.append(value.tobytes())
        return answer


@contextlib.contextmanager
def serve_grpc(repository: Repository) -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the requests that it gets."""
    seen: list[str] = []
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), options=unlimited)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(repository, seen), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        server.stop(None)
