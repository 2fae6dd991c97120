"""``medseg report``: pages that open from disk, ask for nothing, and run nothing of a name."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from support.studies import ball_studies, save

from medseg.cli import main
from medseg.errors import InputError, PipelineError
from medseg.image import Label, Labels
from medseg.metrics import Dice, Hd95
from medseg.metrics.quality import Quality
from medseg.run.comparing import evaluate_runs
from medseg.run.evaluate import Asked, evaluated
from medseg.run.report import Elsewhere, write_report, writing
from medseg.run.report.gathering import gathered
from medseg.run.report.viewer_files import viewer_script

IMAGE = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://evil.example","$x^2_$")'
LABELS = Labels((Label(IMAGE, (1,)), Label(FORMULA, (2,))))
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer"),
    *("h1", "h2", "h3", "p", "strong", "em", "nav", "a", "span", "div", "ul", "li", "dl", "dt"),
    *("dd", "table", "thead", "tbody", "tr", "th", "td", "button", "label", "input", "figure"),
    *("figcaption", "img", "svg", "rect", "image", "path", "script", "canvas", "code"),
}


class Page(HTMLParser):
    """Every tag with its attributes, and the text between tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag in self.inline and "type" not in attributes and data.strip():
            self.inline[tag].append(data)
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def policy(self) -> str:
        (found,) = (m["content"] for m in self.all("meta") if "http-equiv" in m)
        return found


def cohort(folder: Path, shifts: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Scans, references and masks: the later a study, the farther its mask is off."""
    for number, shift in enumerate(shifts):
        reference = np.zeros((16, 14, 12), np.uint8)
        reference[4:9, 4:9, 3:8], reference[10:13, 4:9, 3:8] = 1, 2
        scan = 100.0 * (reference > 0) + np.arange(reference.size).reshape(reference.shape) % 7
        mask = np.roll(reference, shift, 1)
        name = f"case_{number}.nii.gz"
        save(folder / "scans" / name, scan.astype(np.float32))
        save(folder / "references" / name, reference)
        save(folder / "masks" / name, mask)
    return folder


def asked(folder: Path) -> Asked:
    quality = Quality(volumes_ml={IMAGE: (5, 6)})
    metrics = (Dice(), Hd95())
    return Asked(metrics, LABELS, jobs=1, scans=folder / "scans", quality=quality)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of an evaluation with a report; one study's id is no id of ours."""
    folder = cohort(tmp_path_factory.mktemp("report"))
    out = folder / "out"
    evaluated(folder / "masks", folder / "references", asked(folder), out)
    record = json.loads((out / "studies/case_0.json").read_text())
    record |= {"study": IMAGE, "state": "done"}
    (out / "studies/strange.json").write_text(json.dumps(record))
    failed = {"study": FORMULA, "state": "failed", "error": {"code": "E_X", "message": IMAGE}}
    (out / "studies/worse.json").write_text(json.dumps(failed))
    write_report(out)
    return out


def pages(out: Path) -> list[Path]:
    return [out / "report/index.html", *sorted((out / "report/studies").glob("*.html"))]


def test_there_is_a_page_for_each_study_and_the_worst_comes_first(reported: Path) -> None:
    assert len(pages(reported)) == 1 + 5
    found = gathered(reported)
    assert found.studies[0] == FORMULA
    assert found.studies[1:3] == ("case_2", "case_1")
    text = (reported / "report/index.html").read_text()
    assert text.index(">case_2<") < text.index(">case_1<") < text.index(">case_0<")


def test_names_are_text_and_never_markup(reported: Path) -> None:
    for path in pages(reported):
        page = Page(path)
        assert {tag for tag, _ in page.tags} <= TAGS
        for _, attributes in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert all(one["src"].startswith("data:image/svg+xml") for one in page.all("img"))
        assert IMAGE in "".join(page.text)
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", path.name)


def test_every_reference_of_a_page_stays_in_the_folder(reported: Path) -> None:
    for path in pages(reported):
        for tag, attributes in Page(path).tags:
            for name in ("src", "href", "action", "srcset", "poster"):
                where = attributes.get(name, "")
                if where.startswith(("data:", "#")) or not where:
                    continue
                assert ":" not in where, (tag, where)
                assert (path.parent / where.split("#")[0]).is_file()


def test_scripts_and_styles_are_those_that_the_policy_names(reported: Path) -> None:
    for path in pages(reported):
        page = Page(path)
        rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert "unsafe" not in page.policy
        assert "http" not in page.policy
        for tag, rule in (("script", "script-src"), ("style", "style-src")):
            told = [hashlib.sha256(text.encode()).digest() for text in page.inline[tag]]
            assert told
            for digest in told:
                assert f"'sha256-{base64.b64encode(digest).decode()}'" in rules[rule]
        files = [one["src"] for one in page.all("script") if "src" in one]
        assert files == (["../viewer/niivue.js"] if "'self'" in rules["script-src"] else [])


def test_no_cell_of_a_table_is_a_formula(reported: Path) -> None:
    tables = list(reported.glob("*.csv"))
    assert tables
    found = set()
    for path in tables:
        for row in csv.reader(io.StringIO(path.read_text())):
            for cell in row:
                found.add(cell)
                number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)
                assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert f"'{FORMULA}" in found


def test_markdown_shows_names_as_text(reported: Path) -> None:
    text = (reported / "report/report.md").read_text()
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "](figures/boxes-dice.svg)" in text
    assert "(http" not in text.replace("\\_", "_").replace('HYPERLINK("http', "")


def test_figures_are_there_for_pages_and_for_papers(reported: Path) -> None:
    figures = reported / "report/figures"
    stems = {path.stem for path in figures.glob("*.svg")}
    assert stems == {"boxes-dice", "boxes-hd95_surfels", "volumes"}
    assert stems == {path.stem for path in figures.glob("*.pdf")}
    assert all(b"%PDF" in (figures / f"{stem}.pdf").read_bytes()[:8] for stem in stems)


def test_a_report_of_the_same_results_is_the_same_to_the_byte(
    reported: Path, tmp_path: Path
) -> None:
    shutil.copytree(reported.parent, tmp_path / "again")
    shutil.rmtree(tmp_path / "again/out/report")
    write_report(tmp_path / "again/out")
    for path in sorted((reported / "report").rglob("*")):
        if path.is_file():
            other = tmp_path / "again/out/report" / path.relative_to(reported / "report")
            assert other.read_bytes() == path.read_bytes(), path.name


def test_what_moves_together_is_still_found(reported: Path, tmp_path: Path) -> None:
    shutil.copytree(reported.parent, tmp_path / "moved")
    assert write_report(tmp_path / "moved/out").pictured == 3


def test_a_study_whose_scan_is_gone_keeps_its_outlines_and_one_without_masks_its_numbers(
    tmp_path: Path,
) -> None:
    folder = cohort(tmp_path, (0, 1))
    out = folder / "out"
    evaluated(folder / "masks", folder / "references", asked(folder), out)
    shutil.rmtree(folder / "scans")
    assert write_report(out).pictured == 2
    page = Page(pages(out)[1])
    assert "The scan is not where it was" in "".join(page.text)
    assert page.all("path")
    assert not page.all("image")
    shutil.rmtree(folder / "masks")
    assert write_report(out).pictured == 0
    assert "0.800" in pages(out)[2].read_text()
    shutil.move(folder / "references", folder / "elsewhere")
    cohort(tmp_path / "new", (0, 1))
    where = Elsewhere(references=folder / "elsewhere", predictions={"": tmp_path / "new/masks"})
    assert write_report(out, where).pictured == 2


def test_two_runs_are_shown_beside_each_other(tmp_path: Path) -> None:
    one, two = cohort(tmp_path / "one"), cohort(tmp_path / "two", (1, 0, 0))
    out = tmp_path / "out"
    runs = {"first": one / "masks", "second": two / "masks"}
    evaluate_runs(runs, one / "references", asked(one), out)
    summary = write_report(out)
    assert (summary.studies, summary.pictured) == (3, 3)
    assert (out / "report/figures/case-against-case.svg").is_file()
    page = Page(pages(out)[1])
    assert {"layer reference", "layer run0", "layer run1"} == {
        one["class"] for one in page.all("path") if "class" in one
    }
    text = (out / "report/index.html").read_text()
    assert "first less second" in text
    with pytest.raises(InputError, match="no run is called 'third'"):
        write_report(out, Elsewhere(predictions={"third": tmp_path}))


def test_runs_that_all_failed_are_told_of_all_the_same(tmp_path: Path) -> None:
    folder = cohort(tmp_path)
    for path in (folder / "masks").glob("*"):
        save(path, np.full((3, 3, 3), 1, np.uint8))
    out = tmp_path / "out"
    runs = {"a": folder / "masks", "b": folder / "masks"}
    evaluate_runs(runs, folder / "references", asked(folder), out)
    assert write_report(out).studies == 3
    assert "label geometry" in (out / "report/index.html").read_text()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no records"):
        write_report(tmp_path)


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(PipelineError, match=r"needs jinja2: pip install 'medseg\[report\]'"):
        write_report(tmp_path)


def test_the_command_evaluates_reports_and_reports_again(tmp_path: Path) -> None:
    folder = cohort(tmp_path, (0, 1))
    out = folder / "out"
    words = ["evaluate", str(folder / "masks"), "--reference", str(folder / "references")]
    words += ["--scans", str(folder / "scans"), "--output", str(out), "--report", "--jobs", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "2 studies, 2 with pictures" in result.output
    result = CliRunner().invoke(main, ["report", str(out), "--scans", str(tmp_path / "none")])
    assert result.exit_code == 0, result.output
    assert "The scan is not where it was" in pages(out)[1].read_text()


def test_a_run_reports_as_it_ends(tmp_path: Path) -> None:
    path = ball_studies(tmp_path, 2)
    words = ["run", str(path), "--output", str(tmp_path / "out"), "--report"]
    words += ["--set", "probabilities={}", "--set", "instances={}"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "2 studies, 2 with pictures" in result.output
    index, study, _ = (Page(one) for one in pages(tmp_path / "out"))
    told = " ".join("".join(index.text).split())
    assert "Calibration" in told
    assert "1.000" in told.partition("At a glance")[2]
    assert "How sure the networks were" in "".join(study.text)
    assert (tmp_path / "out/report/figures/reliability.pdf").read_bytes().startswith(b"%PDF")
    assert "## Calibration" in (tmp_path / "out/report/report.md").read_text()


def test_a_model_among_readers_has_a_report(tmp_path: Path) -> None:
    folder = cohort(tmp_path)
    for name in ("reader_b", "reader_c"):
        shutil.copytree(folder / "references", folder / name)
    moved = np.zeros((16, 14, 12), np.uint8)
    moved[4:9, 5:9, 3:8], moved[10:13, 4:8, 3:8] = 1, 2
    save(folder / "reader_b/case_1.nii.gz", moved)
    out = folder / "out"
    words = ["evaluate", str(folder / "masks"), "--references", f"a={folder / 'references'}"]
    words += [f"b={folder / 'reader_b'}", f"<b>c={folder / 'reader_c'}"]
    words += ["--scans", str(folder / "scans"), "--output", str(out), "--report", "--jobs", "1"]
    words += ["--instances", "--flags", "--metrics", "dice,hd95"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "3 studies, 3 with pictures" in result.output
    index, study = (Page(one) for one in pages(out)[:2])
    told = " ".join("".join(index.text).split())
    assert "a model among 3 readers: a, b, <b>c." in told
    assert {tag for tag, _ in index.tags} <= TAGS
    assert "Is the model within the readers' own disagreement?" in told
    legend = " ".join("".join(study.text).split()).partition("Slices")[2]
    assert all(name in legend for name in ("majority of readers", "model", " a ", " b "))
    assert any(one.get("data-layer") == "run3" for one in study.all("input"))
    for ending in ("svg", "pdf"):
        assert (out / f"report/figures/among-readers.{ending}").stat().st_size > 5000
    assert "## Among the readers" in (out / "report/report.md").read_text()
    for how in ("majority", "staple"):
        agreed = nib.load(out / f"consensus/{how}/case_2.nii.gz")
        truth = nib.load(folder / "references/case_2.nii.gz")
        assert np.array_equal(np.asarray(agreed.dataobj), np.asarray(truth.dataobj))
    rows = list(csv.DictReader(io.StringIO((out / "instances.csv").read_text())))
    assert {row["mask"] for row in rows} == {"prediction", "reference"}


def test_subgroups_are_told_in_a_report(tmp_path: Path) -> None:
    folder = cohort(tmp_path)
    table = folder / "studies.csv"
    table.write_text("study,sex\ncase_0,f\ncase_1,m\ncase_2,f\n")
    how = replace(asked(folder), table=table, by=("sex",))
    evaluated(folder / "masks", folder / "references", how, folder / "out")
    write_report(folder / "out")
    told = " ".join(Page(pages(folder / "out")[0]).text)
    assert "Subgroups" in told
    assert "## Subgroups" in (folder / "out/report/report.md").read_text()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_the_pages_without_a_complaint(reported: Path, tmp_path: Path) -> None:
    """Names run nothing, tables are there, and the viewer opens where it is installed."""
    index, study = pages(reported)[0], pages(reported)[3]
    viewer = viewer_script() is not None
    for path, anchor in ((index, ""), (study, "#viewer-open" if viewer else "")):
        words = [str(CHROMIUM), "--headless", "--no-sandbox", "--enable-logging=stderr"]
        words += ["--proxy-server=127.0.0.1:9", f"--user-data-dir={tmp_path / 'profile'}"]
        words += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        words += ["--virtual-time-budget=15000", "--dump-dom", path.as_uri() + anchor]
        done = subprocess.run(words, capture_output=True, timeout=120, check=True, text=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        if anchor:
            assert 'data-viewer="open"' in done.stdout
