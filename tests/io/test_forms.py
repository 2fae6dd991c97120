"""Masks for other programs: .seg.nrrd, surfaces, tables, and the terms that they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from medseg.errors import StudyError
from medseg.image import Grid, Label, LabelMap, Labels
from medseg.io import read_labels
from medseg.io.label_table import write_itksnap_table, write_slicer_table
from medseg.io.meshes import mesh_of, write_meshes
from medseg.io.options import ReadOptions
from medseg.io.seg_nrrd import read_seg_nrrd, write_seg_nrrd
from medseg.io.terms import coded, colour_of, term_of, terms

TABLE = Labels((Label("liver", (2,), "#102030"), Label("kidney_left", (5,)), Label("x y", (9,))))


def oblique() -> Grid:
    affine = np.array(
        [[-0.7, 0.1, 0.2, 11.5], [0.08, 0.9, -0.3, -20.25], [0.05, 0.2, 2.4, 5], [0, 0, 0, 1]]
    )
    return Grid(affine, (12, 10, 7))


def chance_mask(labels: Labels = TABLE) -> LabelMap:
    values = np.array([0, *sorted(labels.values)], np.uint8)
    chosen = np.random.default_rng(0).integers(0, len(values), (12, 10, 7))
    return LabelMap(values[chosen], oblique(), labels)


def test_a_seg_nrrd_gives_mask_names_colours_and_codes_again(tmp_path: Path) -> None:
    mask = chance_mask()
    write_seg_nrrd(tmp_path / "a.seg.nrrd", mask)
    found = read_seg_nrrd(tmp_path / "a.seg.nrrd")
    assert found is not None
    again, cautions = found
    assert np.array_equal(again.data, mask.data)
    assert again.grid.near(mask.grid, 1e-6)
    assert [caution.code for caution in cautions] == ["W_GEOMETRY_SHEAR"]
    assert again.labels.names == TABLE.names
    assert [label.values for label in again.labels] == [(2,), (5,), (9,)]
    assert again.labels["liver"].colour == "#102030"
    assert again.labels["liver"].code == "SCT:10200004"


def test_labels_of_a_seg_nrrd_are_told_by_their_names(tmp_path: Path) -> None:
    mask = chance_mask()
    write_seg_nrrd(tmp_path / "a.seg.nrrd", mask)
    ours = Labels((Label("liver", (1,)), Label("other", (2,))))
    again, _ = read_labels(
        tmp_path / "a.seg.nrrd", ours, mask.grid, ReadOptions(rois={"other": "x y"})
    )
    assert np.array_equal(again.data, np.where(mask.data == 2, 1, np.where(mask.data == 9, 2, 0)))
    same, _ = read_labels(tmp_path / "a.seg.nrrd", TABLE, mask.grid.oriented("RAS"))
    assert np.array_equal(same.data[::-1], mask.data)


def test_regions_are_layers_of_a_seg_nrrd(tmp_path: Path) -> None:
    regions = Labels((Label("tumor", (1, 2)), Label("core", (2,))))
    mask = chance_mask(regions)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", mask)
    pynrrd = pytest.importorskip("nrrd")
    data, header = pynrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert np.array_equal(data[0], mask.where("tumor"))
    assert np.array_equal(data[1], mask.where("core"))
    assert header["Segment1_Layer"] == "1"
    assert np.array_equal(read_labels(tmp_path / "a.seg.nrrd", regions)[0].data, mask.data)


def test_other_readers_see_the_same_seg_nrrd(tmp_path: Path) -> None:
    mask = chance_mask()
    write_seg_nrrd(tmp_path / "a.seg.nrrd", mask)
    pynrrd = pytest.importorskip("nrrd")
    data, header = pynrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert np.array_equal(data, mask.data)
    assert header["Segment0_Name"] == "liver"
    assert "SCT^10200004^Liver" in header["Segment0_Tags"]
    affine = np.eye(4)
    affine[:3, :3] = np.array(header["space directions"]).T
    affine[:3, 3] = header["space origin"]
    assert np.allclose(np.diag([-1, -1, 1, 1]) @ affine, mask.grid.affine)
    square = LabelMap(mask.data, Grid(np.diag([0.5, 0.6, 2.0, 1.0]), (12, 10, 7)), TABLE)
    write_seg_nrrd(tmp_path / "b.seg.nrrd", square)
    image = SimpleITK.ReadImage(str(tmp_path / "b.seg.nrrd"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image).T, mask.data)


def test_segments_of_values_that_no_label_can_have_are_counted_anew(tmp_path: Path) -> None:
    path, labels = tmp_path / "a.seg.nrrd", Labels((Label("one", (1,)), Label("two", (2,))))
    write_seg_nrrd(path, chance_mask(labels))
    old, new = b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=70000"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    found = read_seg_nrrd(path)
    assert found is not None
    assert [label.values for label in found[0].labels] == [(1,), (2,)]


@pytest.mark.parametrize("cut", [40, 300])
def test_a_seg_nrrd_that_is_cut_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(path, chance_mask())
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(StudyError, match=r"E_TRUNCATED|E_CORRUPT_GZIP"):
        read_seg_nrrd(path)


def ball(radius: float) -> NDArray[np.bool_]:
    x, y, z = np.indices((48, 40, 30))
    where = oblique().world(np.stack([x, y, z], -1))
    centre = oblique().world((24, 20, 15))
    return ((where - centre) ** 2).sum(-1) < radius**2


def test_a_surface_encloses_its_volume_and_faces_outwards() -> None:
    grid = Grid(oblique().affine, (48, 40, 30))
    inside = ball(14.0)
    mesh = mesh_of(inside, grid)
    assert mesh is not None
    counted = inside.sum() * grid.voxel_ml
    assert mesh.volume_ml == pytest.approx(counted, rel=0.02)
    assert mesh.volume_ml == pytest.approx(4 / 3 * np.pi * 14.0**3 / 1000, rel=0.03)
    centre = (np.diag([-1, -1, 1, 1]) @ [*grid.world((24, 20, 15)), 1])[:3]
    assert np.abs(np.sqrt(((mesh.points - centre) ** 2).sum(1)) - 14.0).max() < 2.5
    mirrored = Grid(grid.affine @ np.diag([-1, 1, 1, 1]), grid.shape)
    other = mesh_of(inside, mirrored)
    assert other is not None
    assert other.volume_ml == pytest.approx(mesh.volume_ml)


def test_a_surface_is_closed_at_the_edge_of_the_scan() -> None:
    mesh = mesh_of(np.ones((4, 5, 6), bool), Grid(np.eye(4), (4, 5, 6)))
    assert mesh is not None
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts) == {2}
    assert mesh.volume_ml == pytest.approx(0.12, rel=0.06)


def test_files_of_surfaces_are_read_by_another_library(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    mask = LabelMap(ball(9.0).astype(np.uint8) * 2, Grid(oblique().affine, (48, 40, 30)), TABLE)
    for form in ("stl", "ply"):
        written = write_meshes(tmp_path / form, mask, form)
        assert list(written) == [f"liver.{form}"]
        mesh = trimesh.load(tmp_path / form / f"liver.{form}")
        truth = mesh_of(mask.data > 0, mask.grid)
        assert truth is not None
        assert mesh.is_watertight
        assert mesh.volume / 1000 == pytest.approx(truth.volume_ml, rel=1e-4)


def test_an_empty_label_has_no_surface(tmp_path: Path) -> None:
    mask = LabelMap(np.zeros((12, 10, 7), np.uint8), oblique(), TABLE)
    assert write_meshes(tmp_path, mask, "stl") == {}


def test_tables_of_labels_have_values_names_and_colours(tmp_path: Path) -> None:
    write_itksnap_table(tmp_path / "a.txt", TABLE)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert lines[3].split() == ["2", "16", "32", "48", "1", "1", "1", '"liver"']
    write_slicer_table(tmp_path / "a.ctbl", TABLE)
    lines = (tmp_path / "a.ctbl").read_text().splitlines()
    assert "2 liver 16 32 48 255" in lines
    assert any(line.startswith("9 x_y ") for line in lines)


def test_the_table_of_terms_has_codes_that_dicom_has() -> None:
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts["SCT"]
    known: dict[str, set[str]] = {}
    for entry in concepts.values():
        for code, (meaning, _) in entry.items():
            known.setdefault(code, set()).add(meaning.split(" (")[0].casefold())
    assert len(terms()) >= 120
    without = set()
    for term in terms().values():
        scheme, _, code = term.code.partition(":")
        assert scheme == "SCT"
        assert checked(code) == 0, term.name
        if code not in known:
            without.add(term.name)
        else:
            assert term.meaning.casefold() in known[code], term.name
    muscles = ("gluteus_maximus", "gluteus_medius", "gluteus_minimus", "iliopsoas", "autochthon")
    ribs = (f"rib_{number}" for number in range(1, 13))
    others = ("heart_myocardium", "portal_vein_and_splenic_vein", "vertebrae_S1")
    assert without == {*muscles, *ribs, *others}


def checked(code: str) -> int:
    """Verhoeff's check of a number, by which every SNOMED CT code ends: 0 where it holds."""
    turns = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    shuffles = [turns[0]]
    for _ in range(7):
        shuffles.append(tuple(turns[1][digit] for digit in shuffles[-1]))
    found = 0
    for place, digit in enumerate(reversed(code)):
        found = five_sided(found, shuffles[place % 8][int(digit)])
    return found


def five_sided(one: int, other: int) -> int:
    """The product of two symmetries of a pentagon: 0 to 4 turn it, 5 to 9 mirror it."""
    turn = one + other if one < 5 else one - other
    return turn % 5 + 5 * ((one < 5) != (other < 5))


SIDED = (
    *("kidney", "adrenal_gland", "kidney_cyst", "subclavian_artery", "common_carotid_artery"),
    *("brachiocephalic_vein", "iliac_artery", "iliac_vena", "humerus", "scapula", "clavicula"),
    *("femur", "hip", "gluteus_maximus", "gluteus_medius", "gluteus_minimus", "autochthon"),
    "iliopsoas",
)
ALONE = (
    *("spleen", "gallbladder", "liver", "stomach", "pancreas", "lung_upper_lobe_left"),
    *("lung_lower_lobe_left", "lung_upper_lobe_right", "lung_middle_lobe_right"),
    *("lung_lower_lobe_right", "esophagus", "trachea", "thyroid_gland", "small_bowel", "duodenum"),
    *("colon", "urinary_bladder", "prostate", "sacrum", "heart", "aorta", "pulmonary_vein"),
    *("brachiocephalic_trunk", "atrial_appendage_left", "superior_vena_cava"),
    *("inferior_vena_cava", "portal_vein_and_splenic_vein", "spinal_cord", "brain", "skull"),
    *("sternum", "costal_cartilages", "vertebrae_S1"),
    *(
        f"vertebrae_{part}{n}"
        for part, most in (("C", 7), ("T", 12), ("L", 5))
        for n in range(1, most + 1)
    ),
)
TOTAL = (
    *ALONE,
    *(f"{name}_{side}" for name in SIDED for side in ("left", "right")),
    *(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)),
)


def test_every_structure_that_totalsegmentator_knows_has_a_code() -> None:
    assert len(set(TOTAL)) == 117
    assert [name for name in TOTAL if term_of(name) is None] == []
    codes = {(coded(Label(name, (1,))).type[0], coded(Label(name, (1,))).side) for name in TOTAL}
    assert len(codes) == 117


def test_terms_are_each_one_thing_with_a_colour_of_its_own() -> None:
    found = list(terms().values())
    assert len({term.colour for term in found}) == len(found)
    assert all(len(term.colour) == 7 for term in found)
    assert {term.kind for term in found} == {"structure", "lesion"}
    assert {term.side for term in found} == {"", "each", "left", "right"}
    codes = [(term.code, term.side) for term in found]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Liver", "SCT:10200004", ""),
        ("kidney_right", "SCT:64033007", "right"),
        ("left kidney", "SCT:64033007", "left"),
        ("lung_upper_lobe_left", "SCT:45653009", "left"),
        ("Tumour", "SCT:108369006", ""),
        ("rib_left_4", "SCT:25523003", "left"),
        ("vertebrae_T12", "SCT:23215003", ""),
    ],
)
def test_names_are_found_however_they_are_written(name: str, code: str, side: str) -> None:
    found = term_of(name)
    assert found is not None
    assert (found[0].code, found[1]) == (code, side)


def test_a_label_of_no_known_name_is_some_tissue_with_a_colour() -> None:
    label = Label("thing_17", (3,))
    assert term_of(label.name) is None
    assert coded(label).type == ("SCT:85756007", "Tissue")
    assert colour_of(label, 2).startswith("#")
    assert coded(Label("thing", (3,), code="SCT:10200004")).type == ("SCT:10200004", "Liver")
