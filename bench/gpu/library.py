"""The launchers of the kernels, called with tensors of PyTorch (operations.h)."""

import ctypes
import struct
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


class LaunchError(RuntimeError):
    """A launcher refused its parameters, or the emulator found a fault."""


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
            raise LaunchError(error.value.decode(errors="replace"))
