"""Weights of a network: broken, of another, or ill-meant."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from support.corpus.case import Case

NETWORK = """\
name: corpus
labels: {bright: 1}
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 6, 8]}
      window: [8, 8, 8]
      weights: WEIGHTS
"""
OWN, FOREIGN = "net.safetensors", "net.pth"


@cache
def state() -> Mapping[str, Any]:
    """The tensors that the network wants."""
    import torch

    from medseg.models import DynUNet

    torch.manual_seed(0)
    return dict(DynUNet(widths=(4, 6, 8))(1, 2).state_dict())


def _first() -> str:
    return next(name for name, tensor in state().items() if tensor.ndim > 1)


def _saved(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from safetensors.torch import save_file

        tensors = {name: tensor.clone() for name, tensor in state().items()}
        change(tensors)
        save_file(tensors, folder / OWN)
        return folder / OWN

    return make


def _raw(change: Callable[[bytes], bytes] | bytes, file: str = OWN) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = _saved(_nothing)(folder)
        data = path.read_bytes()
        path.unlink()
        (folder / file).write_bytes(change if isinstance(change, bytes) else change(data))
        return folder / file

    return make


def _nothing(tensors: dict[str, Any]) -> None:
    del tensors


def _nan(tensors: dict[str, Any]) -> None:
    tensors[_first()].view(-1)[0] = float("nan")


def _infinite(tensors: dict[str, Any]) -> None:
    tensors[_first()].view(-1)[3] = float("inf")


def _missing(tensors: dict[str, Any]) -> None:
    del tensors[_first()]


def _more(tensors: dict[str, Any]) -> None:
    tensors["another"] = tensors[_first()].clone()


def _cut(tensors: dict[str, Any]) -> None:
    tensors[_first()] = tensors[_first()][:1].clone()


def _none(tensors: dict[str, Any]) -> None:
    tensors.clear()


def _claims(size: int) -> Callable[[bytes], bytes]:
    return lambda raw: struct.pack("<Q", size) + raw[8:]


def _beyond(raw: bytes) -> bytes:
    """A tensor that begins and ends behind the file."""
    head = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    name = next(key for key in head if key != "__metadata__")
    head[name]["data_offsets"] = [10**12, 10**12 + 4]
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text


class _Touch:
    """Unpacked without care, it makes a file called PWNED."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("PWNED", "w"))


def _pickled(folder: Path) -> Path:
    (folder / FOREIGN).write_bytes(pickle.dumps({"state_dict": _Touch()}))
    return folder / FOREIGN


def _zipped(folder: Path) -> Path:
    import torch

    torch.save({"state_dict": _Touch()}, folder / FOREIGN)
    return folder / FOREIGN


def _torch(what: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import torch

        torch.save(what, folder / FOREIGN)
        return folder / FOREIGN

    return make


def _folder(folder: Path) -> Path:
    (folder / OWN).mkdir()
    return folder / OWN


def _weights(name: str, make: Callable[[Path], Path], ends: str = "E_CHECKPOINT") -> Case:
    return Case(name, "weights", make, ends)


WEIGHTS = (
    _weights("weights", _saved(_nothing), "done"),
    _weights("a NaN", _saved(_nan)),
    _weights("an infinite one", _saved(_infinite)),
    _weights("a tensor missing", _saved(_missing)),
    _weights("a tensor too many", _saved(_more)),
    _weights("a tensor of another shape", _saved(_cut)),
    _weights("no tensor", _saved(_none)),
    _weights("cut", _raw(lambda raw: raw[:-50])),
    _weights("cut in the header", _raw(lambda raw: raw[:40])),
    _weights("no bytes", _raw(b""), "E_EMPTY_FILE"),
    _weights("a text", _raw(b"version https://git-lfs.github.com/spec/v1\n")),
    _weights("a header of 2**63 bytes", _raw(_claims(2**63))),
    _weights("a header of 90 MB", _raw(_claims(90_000_000))),
    _weights("a tensor behind the file", _raw(_beyond)),
    _weights("a folder", _folder),
    _weights("not there", lambda folder: folder / OWN),
    _weights("code in a pickle", _pickled),
    _weights("code in torch's own form", _zipped, "E_UNSAFE"),
    _weights("a list of numbers", _torch([1, 2, 3])),
    _weights("an empty state dict", _torch({"state_dict": {}})),
    _weights("a zip of nothing", _raw(b"PK\x05\x06" + bytes(18), FOREIGN)),
    _weights("noise", _raw(bytes(range(256)) * 9, FOREIGN)),
)
