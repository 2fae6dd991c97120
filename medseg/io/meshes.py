"""Surfaces of labels as STL and PLY: millimetres in LPS, faces turned outwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap
from medseg.io.atomic import write_atomically
from medseg.io.layouts_files import id_of
from medseg.io.terms import colour_of, rgb

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles of a closed surface: ``points (N, 3)`` in LPS mm, ``faces (M, 3)`` into them."""

    points: NDArray[np.float64]
    faces: NDArray[np.int64]

    @property
    def volume_ml(self) -> float:
        """The volume enclosed; below zero were faces turned inwards."""
        a, b, c = (self.points[self.faces[:, corner]] for corner in range(3))
        return float((a * np.cross(b, c)).sum() / 6000)


def mesh_of(inside: NDArray[np.bool_], grid: Grid) -> Mesh | None:
    """The surface half-way between voxels (X, Y, Z) inside and outside; None where none is.

    By marching cubes (Lewiner et al. 2003, scikit-image). It is closed at the scan's edge too.
    """
    from skimage.measure import marching_cubes

    if not inside.any():
        return None
    box = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    start = np.array([line[0] for line in box])
    part = inside[tuple(slice(line[0], line[-1] + 1) for line in box)]
    points, faces, _, _ = marching_cubes(np.pad(part, 1).astype(np.float32), 0.5)
    affine = _TO_LPS @ grid.affine
    world = (points + start - 1) @ affine[:3, :3].T + affine[:3, 3]
    mesh = Mesh(world, faces.astype(np.int64))
    return mesh if mesh.volume_ml > 0 else Mesh(world, mesh.faces[:, ::-1])


def write_meshes(folder: Path, mask: LabelMap, form: str) -> dict[str, str]:
    """Write a ``stl`` or ``ply`` for each label that is there; SHA-256 by file name.

    Raises OutputError.
    """
    written = {}
    for place, label in enumerate(mask.labels):
        mesh = mesh_of(mask.where(label.name), mask.grid)
        if mesh is not None:
            name = f"{id_of(label.name)}.{form}"
            data = stl(mesh) if form == "stl" else ply(mesh, colour_of(label, place))
            written[name] = write_atomically(folder / name, data)
    return written


def stl(mesh: Mesh) -> bytes:
    """Binary STL; its heading names the space, as 3D Slicer looks for it."""
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
    rows: NDArray[Any] = np.zeros(len(mesh.faces), kind)
    corners = mesh.points[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.sqrt((normal**2).sum(axis=1, keepdims=True))
    rows["normal"] = normal / np.where(length > 0, length, 1)
    rows["corners"] = corners
    head = b"medseg SPACE=LPS mm".ljust(80)
    return head + len(rows).to_bytes(4, "little") + rows.tobytes()


def ply(mesh: Mesh, colour: str) -> bytes:
    """Binary PLY with one colour for all points."""
    kind = np.dtype([("point", "<f4", 3), ("colour", "u1", 3)])
    points: NDArray[Any] = np.zeros(len(mesh.points), kind)
    points["point"], points["colour"] = mesh.points, rgb(colour)
    faces: NDArray[Any] = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    head = (
        "ply\nformat binary_little_endian 1.0\ncomment medseg SPACE=LPS mm\n"
        f"element vertex {len(points)}\nproperty float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return head.encode() + points.tobytes() + faces.tobytes()
