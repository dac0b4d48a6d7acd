"""The launchers of the kernels, called with tensors of PyTorch (operations.h)."""

import ctypes
import struct
import weakref
from collections.abc import Callable
from typing import Any

import torch

# kernels::DType
DTYPES = {
    torch.float32: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
}


class _Field(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_char),
        ("offset", ctypes.c_size_t),
        ("bytes", ctypes.c_size_t),
    ]


class _Operation(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("defaults", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("fields", ctypes.POINTER(_Field)),
        ("field_count", ctypes.c_size_t),
        ("launch", ctypes.c_void_p),
    ]


class _ModelBatch(ctypes.Structure):
    _fields_ = [
        ("ids", ctypes.c_void_p),
        ("pixels", ctypes.c_void_p),
        ("cu_lengths", ctypes.c_void_p),
        ("sequences", ctypes.c_int64),
        ("max_length", ctypes.c_int64),
    ]


class LibraryError(RuntimeError):
    """A launcher refused its parameters, the emulator found a fault, a model does not load."""


class Library:
    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.gpu_check_operation.restype = ctypes.POINTER(_Operation)
        self._library.gpu_check_launch.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
        self._library.gpu_check_register.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._library.gpu_check_unregister.argtypes = [ctypes.c_void_p]
        self._library.gpu_check_load.restype = ctypes.c_void_p
        self._library.gpu_check_load.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
        self._library.gpu_check_forward.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
        self._library.gpu_check_unload.argtypes = [ctypes.c_void_p]
        self._operations: dict[str, tuple[int, _Operation]] = {}
        while operation := self._library.gpu_check_operation(len(self._operations)):
            name = operation.contents.name.decode()
            self._operations[name] = (len(self._operations), operation.contents)

    def operations(self) -> list[str]:
        return list(self._operations)

    def prepare(self, operation: str, **values: Any) -> Callable[[], None]:
        """A call of the launcher with these fields; all others keep their defaults."""
        index, described = self._operations[operation]
        params = ctypes.create_string_buffer(
            ctypes.string_at(described.defaults, described.bytes), described.bytes
        )
        fields = {
            described.fields[i].name.decode(): described.fields[i]
            for i in range(described.field_count)
        }
        tensors = []
        for name, value in values.items():
            field = fields[name]
            code = field.code.decode()
            if isinstance(value, torch.Tensor):
                tensors.append(value)
                value = value.data_ptr()
            elif isinstance(value, torch.dtype):
                value = DTYPES[value]
            numbers = list(value) if isinstance(value, (list, tuple)) else [value]
            layout = f"={len(numbers)}{'Q' if code == 'P' else code}"
            if struct.calcsize(layout) != field.bytes:
                raise ValueError(f"{operation}.{name} does not take {value}")
            struct.pack_into(layout, params, field.offset, *numbers)
        return lambda: self._launch(index, params, tensors)

    def load(self, directory: str, dtype: torch.dtype) -> "Model":
        error = ctypes.create_string_buffer(1000)
        model = self._library.gpu_check_load(directory.encode(), DTYPES[dtype], error, len(error))
        if not model:
            raise LibraryError(error.value.decode(errors="replace"))
        return Model(self._library, model)

    def _launch(self, index: int, params: Any, tensors: list[torch.Tensor]) -> None:
        on_gpu = tensors[0].is_cuda
        storages = {}
        stream = 0
        if on_gpu:
            stream = torch.cuda.current_stream().cuda_stream
        else:
            # The emulator wants to know what memory there is; views share theirs.
            storages = {
                tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
                for tensor in tensors
            }
        for data, size in storages.items():
            self._library.gpu_check_register(data, size)
        error = ctypes.create_string_buffer(1000)
        failed = self._library.gpu_check_launch(index, params, stream, error, len(error))
        for data in storages:
            self._library.gpu_check_unregister(data)
        if failed:
            raise LibraryError(error.value.decode(errors="replace"))


class Model:
    """A model that the engine computes, with a GPU device of its own."""

    def __init__(self, library: ctypes.CDLL, model: int) -> None:
        self._library = library
        self._model = model
        # Not __del__: at the interpreter's end the library may be gone already.
        weakref.finalize(self, library.gpu_check_unload, model)

    def prepare(
        self,
        out: torch.Tensor,
        cu_lengths: list[int],
        ids: torch.Tensor | None = None,
        pixels: torch.Tensor | None = None,
    ) -> Callable[[], None]:
        """A pass that writes embeddings [sequences, hidden size] to `out`; all on the host."""
        starts = torch.tensor(cu_lengths, dtype=torch.int32)
        lengths = starts.diff()
        batch = _ModelBatch(
            ids=None if ids is None else ids.data_ptr(),
            pixels=None if pixels is None else pixels.data_ptr(),
            cu_lengths=starts.data_ptr(),
            sequences=len(lengths),
            max_length=int(lengths.max()),
        )
        error = ctypes.create_string_buffer(1000)

        def run(kept=(ids, pixels, starts)) -> None:
            failed = self._library.gpu_check_forward(
                self._model, ctypes.byref(batch), out.data_ptr(), error, len(error)
            )
            if failed:
                raise LibraryError(error.value.decode(errors="replace"))

        return run
