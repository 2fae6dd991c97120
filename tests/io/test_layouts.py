"""Which studies a path means, layout by layout, and what is said where there are none."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import InputError
from medseg.io import Found, find_studies
from medseg.io.layouts_files import SUFFIXES, id_of, normal


def touched(folder: Path, *names: str) -> Path:
    """Empty files; layouts look at names and open nothing."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(found: Found) -> list[str]:
    return [study.name for study in found.studies]


def files(found: Found, folder: Path) -> list[tuple[str, ...]]:
    return [tuple(str(p.relative_to(folder)) for p in study.images) for study in found.studies]


def masks(found: Found, folder: Path) -> list[str | None]:
    return [s.reference and str(s.reference.relative_to(folder)) for s in found.studies]  # type: ignore[misc]


def refusal(path: Path, code: str = "E_NO_INPUT", **options: object) -> str:
    with pytest.raises(InputError) as caught:
        find_studies(path, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".NII.GZ", ".Mha"])
def test_one_file_is_a_study_of_its_name(tmp_path: Path, suffix: str) -> None:
    touched(tmp_path, f"a.b{suffix}")
    found = find_studies(tmp_path / f"a.b{suffix}")
    assert found.layout == "one file"
    assert names(found) == ["a.b"]
    assert found.studies[0].images == (tmp_path / f"a.b{suffix}",)
    assert found.studies[0].reference is None


def test_a_plain_folder_is_sorted_by_name_and_holds_images_only(tmp_path: Path) -> None:
    touched(tmp_path, "b.nii.gz", "a.nrrd", "c.hdr", "c.img", "d.mhd", "d.raw", "notes.txt")
    touched(tmp_path, ".hidden.nii.gz", "e.nii.gz/inner.nii", ".nii")
    found = find_studies(tmp_path)
    assert found.layout == "plain folder"
    assert names(found) == ["a", "b", "c", "d"]
    assert files(found, tmp_path) == [("a.nrrd",), ("b.nii.gz",), ("c.hdr",), ("d.mhd",)]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "case1.nii", "case1.nii.gz")
    said = refusal(tmp_path, "E_DUPLICATE_ID")
    assert "case1.nii" in said
    assert "case1.nii.gz" in said


@pytest.mark.parametrize(
    "pair",
    [
        ("Case.nii", "case.nii"),
        (unicodedata.normalize("NFC", "é.nii"), "e\N{COMBINING ACUTE ACCENT}.nii"),
    ],
    ids=["case", "composition"],
)
def test_names_that_some_file_systems_take_for_one_are_refused(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    touched(tmp_path, *pair)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes them for one itself")
    refusal(tmp_path, "E_DUPLICATE_ID")


def test_unusual_names_are_given_plain_ones_and_it_is_said(tmp_path: Path) -> None:
    touched(tmp_path, "Müller, Anna.nii", "plain-1.nii", "a\nb.nii", "-.nii", "..x.nii")
    found = find_studies(tmp_path)
    assert len(names(found)) == 4
    assert "plain-1" in names(found)
    mapped = next(name for name in names(found) if name.startswith("Muller_Anna-"))
    assert mapped == id_of("Müller, Anna")
    notes = [note for note in found.notes if note.startswith("W_NAME")]
    assert len(notes) == 2
    assert any("Müller, Anna" in note for note in notes)
    assert all("\n" not in note for note in notes)


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=120))
def test_ids_are_safe_and_differ_where_names_do(name: str) -> None:
    import re

    safe = id_of(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", safe)
    assert safe[0] != "."
    assert id_of(safe) == safe
    assert id_of(unicodedata.normalize("NFC", name)) == id_of(name) or safe == name
    if normal(name) != normal(name + "ö"):
        assert id_of(name + "ö") != safe


def test_a_name_that_is_no_text_at_all_is_a_study(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/scan\xff.nii"
    Path(os.fsdecode(raw)).touch()
    found = find_studies(tmp_path)
    assert names(found)[0].startswith("scan_-") or names(found)[0].startswith("scan-")
    found.notes[0].encode("utf-8")


def test_pipes_broken_links_and_loops_do_no_harm(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "broken.nii").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    (tmp_path / "down").symlink_to(tmp_path)
    touched(tmp_path, "a.nii")
    # Each is named as an image, so each ends with an error of its own when it is read.
    assert names(find_studies(tmp_path)) == ["a", "broken", "loop", "pipe"]
    assert names(find_studies(tmp_path / "{study}.nii")) == ["a", "broken", "loop", "pipe"]
    assert names(find_studies(tmp_path / "down/down/{study}.nii")) == [
        "a",
        "broken",
        "loop",
        "pipe",
    ]
    assert names(find_studies(tmp_path / "pipe.nii")) == ["pipe"]
    os.mkfifo(tmp_path / "pipe.csv")
    refusal(tmp_path / "pipe.csv")
    refusal(tmp_path / "loop.nii/x")


def test_a_folder_that_may_not_be_looked_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shut(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", shut)
    assert f"{tmp_path}: cannot be looked into (Permission denied)" in refusal(tmp_path)


def test_what_was_looked_for_and_what_is_there_are_told(tmp_path: Path) -> None:
    assert "it is empty" in refusal(tmp_path)
    touched(tmp_path, "x/one.nii.gz", "y/one.nii.gz", "notes.txt")
    said = refusal(tmp_path)
    assert ".nii.gz" in said
    assert "1 file (notes.txt) and 2 folders (x, y)" in said
    assert f"{tmp_path}/{{study}}/one.nii.gz would find them" in said
    assert "notes.txt" in refusal(tmp_path / "nowhere")
    assert "nowhere/deeper" in refusal(tmp_path / "nowhere/deeper")
    assert "neither an image" in refusal(tmp_path / "notes.txt")


def test_a_pattern_finds_studies_in_their_folders(tmp_path: Path) -> None:
    touched(tmp_path, "s1/t1.nii", "s2/t1.nii", "s2/t2.nii", "s3/other.nii", "t1.nii", ".s/t1.nii")
    found = find_studies(tmp_path / "{study}/t1.nii")
    assert found.layout == "pattern"
    assert names(found) == ["s1", "s2"]
    assert files(found, tmp_path) == [("s1/t1.nii",), ("s2/t1.nii",)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{study}_img.nii", ["a", "a_img"]),
        ("a{study}.nii", ["_img", "_img_img", "_seg"]),
        ("{study}.nii", ["a_img", "a_img_img", "a_seg"]),
    ],
)
def test_a_pattern_takes_the_rest_of_a_name_for_the_study(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    touched(tmp_path, "a_img.nii", "a_img_img.nii", "a_seg.nii")
    assert names(find_studies(tmp_path / pattern)) == expected


def test_a_field_may_stand_twice_and_means_the_same(tmp_path: Path) -> None:
    touched(tmp_path, "a/a_t1.nii", "b/c_t1.nii")
    assert names(find_studies(tmp_path / "{study}/{study}_t1.nii")) == ["a"]
    touched(tmp_path, "d_d.nii", "d_e.nii")
    assert names(find_studies(tmp_path / "{study}_{study}.nii")) == ["d"]


def test_channels_are_found_by_their_names_in_their_order(tmp_path: Path) -> None:
    touched(tmp_path, "p1/CT_image.nii", "p1/PET_image.nii", "p2/PET_image.nii", "p3/MR_image.nii")
    found = find_studies(tmp_path / "{study}/{channel}_image.nii", channels=["PET", "CT"])
    assert names(found) == ["p1", "p2"]
    # The channel that p2 lacks keeps its path, so that p2 fails by name and is not forgotten.
    assert files(found, tmp_path) == [
        ("p1/PET_image.nii", "p1/CT_image.nii"),
        ("p2/PET_image.nii", "p2/CT_image.nii"),
    ]
    assert names(find_studies(tmp_path / "{study}/{channel}_image.nii", channels=["MR"])) == ["p3"]


def test_a_channel_that_begins_like_another_is_told_apart(tmp_path: Path) -> None:
    touched(tmp_path, "a_t1.nii", "a_t1_c.nii")
    found = find_studies(tmp_path / "{study}_{channel}.nii", channels=["t1", "t1_c"])
    assert files(found, tmp_path) == [("a_t1.nii", "a_t1_c.nii")]


@pytest.mark.parametrize(
    ("pattern", "channels", "said"),
    [
        ("{patient}.nii", ["image"], "not {patient}"),
        ("{study.__class__}.nii", ["image"], "not {study.__class__}"),
        ("{channel}.nii", ["image"], "not no {study}"),
        ("{study}.nii", ["t1", "t2"], "needs {channel} to find t1, t2"),
        ("{study}_{channel}.nii", ["t9"], "with {channel} one of t9"),
        ("nowhere/{study}.nii", ["image"], "nowhere is no folder"),
        ("{study}/x.nii", ["image"], "it holds 1 file (a_t1.nii)"),
    ],
)
def test_a_pattern_that_cannot_be_met_says_why(
    tmp_path: Path, pattern: str, channels: list[str], said: str
) -> None:
    touched(tmp_path, "a_t1.nii")
    assert said in refusal(tmp_path / pattern, channels=channels)


def test_a_file_whose_name_has_braces_is_a_file(tmp_path: Path) -> None:
    touched(tmp_path, "{study}.nii")
    assert find_studies(tmp_path / "{study}.nii").layout == "one file"


MANIFEST = (
    "study,image,reference,site,sex\np1,scans/1.nii,masks/1.nii,Oslo,f\np2,/abs/2.nii,,Bern,\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", MANIFEST),
        ("m.csv", "\ufeff" + MANIFEST.replace("\n", "\r\n")),
        ("m.csv", MANIFEST.replace(",", ";")),
        ("m.tsv", MANIFEST.replace(",", "\t") + "\n\t\t\n"),
    ],
    ids=["commas", "from a spreadsheet", "semicolons", "tabs"],
)
def test_a_manifest_names_its_studies(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, newline="")
    found = find_studies(tmp_path / name)
    assert found.layout == "manifest"
    one, two = found.studies
    assert (one.name, one.images) == ("p1", (tmp_path / "scans/1.nii",))
    assert one.reference == tmp_path / "masks/1.nii"
    assert dict(one.attributes) == {"site": "Oslo", "sex": "f"}
    assert (two.images, two.reference) == ((Path("/abs/2.nii"),), None)


def test_a_manifest_has_a_column_for_each_channel(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("study,CT,PET\np1,ct.nii,pet.nii\n")
    found = find_studies(tmp_path / "m.csv", channels=["PET", "CT"])
    assert files(found, tmp_path) == [("pet.nii", "ct.nii")]
    assert files(find_studies(tmp_path / "m.csv", channels=["CT"]), tmp_path) == [("ct.nii",)]
    assert "has no column MR" in refusal(tmp_path / "m.csv", channels=["PET", "MR"])


def test_a_text_that_was_kept_from_being_a_formula_is_itself_again(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("study,image\np1,'-1.nii\n")
    assert files(find_studies(tmp_path / "m.csv"), tmp_path) == [("-1.nii",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column study, image"),
        ("image\na.nii\n", "has no column study; wanted are study, image"),
        ("study,image\n", "no study below it"),
        ("study,image\np1,\n", "line 2 says nothing for image"),
        ("study,image\np1\n", "line 2 says nothing for image"),
        ("study,image\np1,a.nii,b.nii\n", "line 2 has 3 cells for 2 columns"),
        ("study,image,image\np1,a.nii,b.nii\n", "names a column twice"),
    ],
)
def test_a_manifest_with_a_hole_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert said in refusal(tmp_path / "m.csv")


def test_a_manifest_that_names_a_study_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("study,image\np1,a.nii\nP1,b.nii\n")
    refusal(tmp_path / "m.csv", "E_DUPLICATE_ID")


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00")
    assert "not a readable table" in refusal(tmp_path / "m.csv")
    (tmp_path / "n.csv").write_text("study,image\n" + "a" * 200_000 + ",b.nii\n")
    assert "field larger" in refusal(tmp_path / "n.csv")


def decathlon(folder: Path, **parts: object) -> Path:
    said = {
        "labels": {"0": "background", "1": "tumour"},
        "training": [
            {"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"},
            {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
        ],
        "test": ["./imagesTs/c.nii.gz"],
    }
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(said | parts))
    return folder


def test_a_decathlon_set_gives_its_labelled_studies(tmp_path: Path) -> None:
    for path in (decathlon(tmp_path), tmp_path / "dataset.json"):
        found = find_studies(path)
        assert found.layout == "Decathlon"
        assert names(found) == ["a", "b"]
        assert masks(found, tmp_path) == ["labelsTr/a.nii.gz", "labelsTr/b.nii.gz"]
        assert found.notes == ("left out: unlabelled test studies of dataset.json (1)",)


def test_a_decathlon_set_without_labels_gives_its_tests(tmp_path: Path) -> None:
    found = find_studies(decathlon(tmp_path, training=[]))
    assert names(found) == ["c"]
    assert masks(found, tmp_path) == [None]


@pytest.mark.parametrize(
    "entry", [3, {"label": "x"}, {"image": "x.txt"}, {"image": "x.nii", "label": 3}]
)
def test_a_decathlon_entry_that_names_no_image_is_refused(tmp_path: Path, entry: object) -> None:
    assert "which names no image" in refusal(decathlon(tmp_path, training=[entry]))


def test_a_broken_dataset_json_is_refused(tmp_path: Path) -> None:
    file = decathlon(tmp_path) / "dataset.json"
    assert "one file a study" in refusal(file, channels=["T1", "T2"])
    for text, said in (("{", "not a JSON file"), ("[]", "not a JSON mapping"), ("{}", "lists no")):
        file.write_text(text)
        assert said in refusal(tmp_path)
    file.write_text("[" * 100_000)
    refusal(tmp_path)
    with file.open("wb") as large:
        large.truncate(50_000_001)
    assert "too large" in refusal(tmp_path)


def nnunet(folder: Path, **said: object) -> Path:
    for name in ("a", "b"):
        touched(folder, *(f"imagesTr/{name}_{index:04d}.nii.gz" for index in range(2)))
        touched(folder, f"labelsTr/{name}.nii.gz")
    touched(folder, "imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz")
    if said:
        (folder / "dataset.json").write_text(json.dumps({"file_ending": ".nii.gz", **said}))
    return folder


@pytest.mark.parametrize(
    "said", [{}, {"channel_names": {"0": "x", "1": "y"}}], ids=["bare", "described"]
)
def test_an_nnunet_set_gives_channels_by_index_and_its_masks(
    tmp_path: Path, said: dict[str, object]
) -> None:
    found = find_studies(nnunet(tmp_path, **said), channels=["T1", "T2"])
    assert found.layout == "nnU-Net"
    assert files(found, tmp_path) == [
        ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"),
        ("imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz"),
    ]
    assert masks(found, tmp_path) == ["labelsTr/a.nii.gz", "labelsTr/b.nii.gz"]
    assert bool(found.notes) == bool(said)


def test_channels_that_dataset_json_knows_by_name_are_taken_by_name(tmp_path: Path) -> None:
    nnunet(tmp_path, channel_names={"0": "T1", "1": "FLAIR"})
    found = find_studies(tmp_path, channels=["flair", "t1"])
    assert files(found, tmp_path)[0] == ("imagesTr/a_0001.nii.gz", "imagesTr/a_0000.nii.gz")
    found = find_studies(tmp_path, channels=["FLAIR"])
    assert files(found, tmp_path)[0] == ("imagesTr/a_0001.nii.gz",)
    assert found.notes == ("channels 0000 are there and not read",)


def test_fewer_channels_than_there_are_is_said(tmp_path: Path) -> None:
    found = find_studies(nnunet(tmp_path))
    assert files(found, tmp_path)[0] == ("imagesTr/a_0000.nii.gz",)
    assert found.notes == ("channels 0001 are there and not read",)


def test_a_channel_that_is_missing_keeps_its_path(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "imagesTr/b_0001.nii.gz").unlink()
    found = find_studies(tmp_path, channels=2)
    assert files(found, tmp_path)[1] == ("imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz")


def test_a_folder_of_indexed_files_is_nnunets(tmp_path: Path) -> None:
    nnunet(tmp_path)
    found = find_studies(tmp_path / "imagesTs", channels=2)
    assert (found.layout, names(found)) == ("nnU-Net", ["t"])
    touched(tmp_path / "flat", "x_0000.nii", "y_0000.nii")
    assert names(find_studies(tmp_path / "flat")) == ["x", "y"]
    touched(tmp_path / "flat", "x_0001.nii", "y_0001.nii")
    assert names(find_studies(tmp_path / "flat", channels=2)) == ["x", "y"]


@pytest.mark.parametrize(
    "patients",
    [
        ("p_0001.nii", "p_0002.nii"),
        ("p_0000.nii", "p_0001.nii", "p_0002.nii"),
        ("p_0000.nii", "q_0000.nii", "q_0001.nii"),
        ("p_0000.nii", "p.nii"),
    ],
)
def test_numbered_patients_are_not_taken_for_channels(
    tmp_path: Path, patients: Sequence[str]
) -> None:
    found = find_studies(touched(tmp_path, *patients))
    assert found.layout == "plain folder"
    assert len(found.studies) == len(patients)


def bids(folder: Path) -> Path:
    for visit in ("sub-01/ses-1", "sub-01/ses-2", "sub-02"):
        start = visit.replace("/", "_")
        touched(folder, *(f"{visit}/anat/{start}_{s}.nii.gz" for s in ("T1w", "FLAIR")))
        touched(folder, f"{visit}/anat/{start}_T1w.json")
    touched(folder, "derivatives/manual/sub-02/anat/sub-02_desc-tumour_dseg.nii.gz", "sub-x.txt")
    return folder


def test_bids_visits_are_studies_and_suffixes_channels(tmp_path: Path) -> None:
    found = find_studies(bids(tmp_path), channels=["flair", "T1w"])
    assert found.layout == "BIDS"
    assert names(found) == ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
    assert files(found, tmp_path)[2] == (
        "sub-02/anat/sub-02_FLAIR.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
    )
    assert masks(found, tmp_path) == [
        None,
        None,
        "derivatives/manual/sub-02/anat/sub-02_desc-tumour_dseg.nii.gz",
    ]


def test_several_images_of_a_kind_in_a_visit_are_studies_of_their_own(tmp_path: Path) -> None:
    touched(tmp_path, "sub-1/pet/sub-1_run-1_pet.nii.gz", "sub-1/pet/sub-1_run-2_pet.nii.gz")
    touched(tmp_path, "sub-2/pet/sub-2_run-1_pet.nii.gz")
    found = find_studies(tmp_path)
    assert names(found) == ["sub-1_run-1", "sub-1_run-2", "sub-2"]


def test_a_bids_suffix_that_is_missing_keeps_its_path(tmp_path: Path) -> None:
    (bids(tmp_path) / "sub-02/anat/sub-02_FLAIR.nii.gz").unlink()
    found = find_studies(tmp_path, channels=["T1w", "FLAIR"])
    assert files(found, tmp_path)[2][1] == "sub-02/anat/sub-02_FLAIR.nii.gz"


def test_several_masks_for_a_bids_study_are_told_and_none_is_taken(tmp_path: Path) -> None:
    touched(bids(tmp_path), "derivatives/other/sub-02/anat/sub-02_dseg.nii.gz")
    found = find_studies(tmp_path, channels=["T1w"])
    assert masks(found, tmp_path)[2] is None
    assert "sub-02 has 2 masks" in found.notes[0]


def test_bids_asks_which_suffix_is_meant(tmp_path: Path) -> None:
    said = refusal(bids(tmp_path))
    assert "there is FLAIR, T1w" in said
    assert "did you mean T1w?" in refusal(tmp_path, channels=["T1"])
    (tmp_path / "empty/sub-1/beh").mkdir(parents=True)
    assert "no image in sub-*" in refusal(tmp_path / "empty")


def test_references_are_matched_by_name(tmp_path: Path) -> None:
    touched(tmp_path, "i/a.nii.gz", "i/b.nii.gz", "i/c.nii.gz", "m/a.nrrd", "m/b.nii", "m/x.nii")
    found = find_studies(tmp_path / "i", reference=tmp_path / "m")
    assert masks(found, tmp_path) == ["m/a.nrrd", "m/b.nii", None]
    assert found.notes[0].startswith("1 study has no reference: c; ")


def test_references_are_found_by_the_id_that_a_study_was_given(tmp_path: Path) -> None:
    touched(tmp_path, "i/Ä.nii", f"m/{id_of('Ä')}.nii.gz")
    found = find_studies(tmp_path / "i", reference=tmp_path / "m")
    assert found.studies[0].reference is not None


def test_references_are_found_by_a_pattern_and_no_scan_is_a_mask(tmp_path: Path) -> None:
    touched(tmp_path, "a.nii", "a_seg.nii", "b.nii", "b_seg.nii")
    found = find_studies(tmp_path, reference=tmp_path / "{study}_seg.nii")
    assert names(found) == ["a", "b"]
    assert masks(found, tmp_path) == ["a_seg.nii", "b_seg.nii"]
    assert found.notes == ("2 of the files here are reference masks and no studies",)
    assert "not {channel}" in refusal(tmp_path, reference=tmp_path / "{study}_{channel}.nii")


def test_one_study_takes_one_mask(tmp_path: Path) -> None:
    touched(tmp_path, "a.nii", "truth.nii", "i/b.nii", "i/c.nii")
    found = find_studies(tmp_path / "a.nii", reference=tmp_path / "truth.nii")
    assert masks(found, tmp_path) == ["truth.nii"]
    assert "one mask, and 2 studies" in refusal(tmp_path / "i", reference=tmp_path / "truth.nii")
    assert "no such mask or folder" in refusal(tmp_path / "i", reference=tmp_path / "truht.nii")


def test_masks_may_be_compared_with_themselves(tmp_path: Path) -> None:
    touched(tmp_path, "a.nii", "b.nii")
    found = find_studies(tmp_path, reference=tmp_path)
    assert masks(found, tmp_path) == ["a.nii", "b.nii"]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("case_1_seg.nii", "{study}_seg.nii"),
        ("cas_1.nii", "did you mean cas_1.nii for case_1?"),
        ("other.nii", "there is other.nii"),
        ("readme.txt", "it holds 1 file (readme.txt)"),
    ],
)
def test_references_of_nearly_the_right_name_are_suggested(
    tmp_path: Path, mask: str, said: str
) -> None:
    touched(tmp_path, "i/case_1.nii", f"m/{mask}")
    text = refusal(tmp_path / "i", reference=tmp_path / "m")
    assert "no mask belongs to 1 study (case_1)" in text
    assert said in text


def test_two_masks_of_one_name_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "i/a.nii", "m/a.nii", "m/a.nii.gz")
    refusal(tmp_path / "i", "E_DUPLICATE_ID", reference=tmp_path / "m")


def test_a_reference_takes_the_place_of_the_layouts_own(tmp_path: Path) -> None:
    nnunet(tmp_path)
    touched(tmp_path, "mine/a.nii.gz")
    found = find_studies(tmp_path, channels=2, reference=tmp_path / "mine")
    assert masks(found, tmp_path) == ["mine/a.nii.gz", None]


def test_one_image_a_study_cannot_be_several_channels(tmp_path: Path) -> None:
    touched(tmp_path, "a.nii")
    for path in (tmp_path, tmp_path / "a.nii"):
        assert "{study}_{channel}.nii.gz names them" in refusal(path, channels=["T1", "T2"])


@pytest.mark.real
def test_the_real_sets_are_recognised(real_data: Path) -> None:
    hippocampus = find_studies(real_data / "hippocampus")
    assert (hippocampus.layout, len(hippocampus.studies)) == ("Decathlon", 208)
    assert all(s.reference and s.reference.exists() for s in hippocampus.studies)
    sarcoma = real_data / "sarcoma/nifti"
    pet = find_studies(
        sarcoma / "{study}/{channel}_image.nii.gz",
        channels=["PET"],
        reference=sarcoma / "{study}/PET_mask.nii.gz",
    )
    assert len(pet.studies) == 41
    assert all(study.reference for study in pet.studies)
