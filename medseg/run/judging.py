"""What is said of a study's masks: metrics beside the reference, instances, flags of quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import Caution, MedsegError, StudyError
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import Geometry, read_labels, sha256_of, write_mask
from medseg.metrics import Comparison, Measure
from medseg.metrics.instances import numbered
from medseg.pipeline import Pipeline
from medseg.run.certainty import Certainty, calibration_measures, write_entropy
from medseg.run.folder import inside
from medseg.run.instances import instances_of
from medseg.run.records import Record, judged_by, measured, rounded, write_record
from medseg.run.segment import Segmentation


@dataclass(frozen=True)
class Judge:
    """Says of masks what a pipeline asks for."""

    pipeline: Pipeline
    output: Path

    def said(
        self,
        study: Study,
        masks: Sequence[LabelMap],
        geometry: Geometry | None = None,
        frames: Sequence[Segmentation] = (),
    ) -> tuple[Record, tuple[Caution, ...]]:
        """What the record says of masks beside their reference, and what to know about them.

        ``frames`` are what the masks were made as, with their scores where these were kept.
        """
        kept = [(one.mask, one.scores, one.temperature) for one in frames]
        sure = [Certainty(mask, scores, t) for mask, scores, t in kept if scores is not None]
        reference, cautions = self._reference(study, masks)
        comparison = None if reference is None else Comparison(masks[0], reference)
        asked_for = self.pipeline.metrics if comparison is not None else ()
        measures = [measure for metric in asked_for for measure in metric(comparison)]
        certain, more = self._certain(sure, reference)
        said: Record = {
            "judged_by": judged_by(study, self.pipeline),
            "reference_volumes_ml": {} if reference is None else rounded(reference.volumes_ml()),
            "metrics": measured([*measures, *more]),
            **certain,
        }
        agreed = [_rounded(one.agreement) for one in frames if one.agreement]
        if agreed:
            said["networks_agree"] = agreed
        maps: Record = {}
        asked = self.pipeline.instances
        if asked is not None:
            rows = instances_of(study.name, asked, masks, reference, sure[0] if sure else None)
            said["instances"] = rows
            if asked.masks:
                maps |= self._instance_map(study, masks[0], geometry)
        if self.pipeline.probabilities and self.pipeline.probabilities.entropy and sure:
            path = inside(self.output, map_path(self.output, "entropy", study.name))
            maps |= _named("entropy", path, write_entropy(path, sure, geometry))
        if maps:
            said["maps"] = maps
        flags = [flag for mask in masks for flag in self.pipeline.quality.flags(mask)]
        return said, (*cautions, *flags, *self._doubts(said))

    def _certain(
        self, sure: Sequence[Certainty], reference: LabelMap | None
    ) -> tuple[Record, list[Measure]]:
        """Mean probabilities of each frame's labels, and with a reference what they are worth."""
        asked = self.pipeline.probabilities
        if asked is None or not sure:
            return {}, []
        said: Record = {"confidence": [one.confidence() for one in sure]}
        if reference is None:
            return said, []
        found = sure[0].forecasts(reference, asked)
        said["calibration"] = {name: one.as_json() for name, one in found.items() if one}
        return said, calibration_measures(found)

    def _doubts(self, said: Record) -> list[Caution]:
        doubts = self.pipeline.quality.doubts
        told = [flag for frame in said.get("confidence", []) for flag in doubts(frame, {})]
        return told + [flag for f in said.get("networks_agree", []) for flag in doubts({}, f)]

    def again(self, study: Study, mask_path: Path, old: Record) -> Record:
        """The record of a mask that stands, said anew where the reference or the asking changed."""
        if old.get("judged_by") != judged_by(study, self.pipeline):
            judged, _ = self.said(study, [self.old_mask(mask_path, old)])
            parts = ("instances", "maps", "confidence", "calibration")
            record = {key: one for key, one in old.items() if key not in parts} | judged
        elif self._instances_stand(old):
            return old
        else:
            again = self._instance_map(study, self.old_mask(mask_path, old))
            record = {**old, "maps": {**old.get("maps", {}), **again}}
        write_record(self.output, record)
        return record

    def entropy_stands(self, old: Record) -> bool:
        """Whether the map of doubt that is asked for is there as it was written."""
        asked = self.pipeline.probabilities
        wanted = asked is not None and asked.entropy and "confidence" in old
        return not wanted or self._stands(old, "entropy")

    def _instances_stand(self, old: Record) -> bool:
        asked = self.pipeline.instances
        return not (asked and asked.masks) or self._stands(old, "instances")

    def _stands(self, old: Record, kind: str) -> bool:
        said = old.get("maps", {}).get(kind, {})
        try:
            return bool(sha256_of(self.output / said["file"]) == said["sha256"])
        except (OSError, KeyError, MedsegError):
            return False

    def _instance_map(
        self, study: Study, mask: LabelMap, geometry: Geometry | None = None
    ) -> Record:
        asked = self.pipeline.instances
        assert asked is not None
        path = inside(self.output, map_path(self.output, "instances", study.name))
        pieces = numbered(mask, asked.labels, asked.connectivity)
        return _named("instances", path, write_mask(path, pieces, geometry))

    def old_mask(self, path: Path, old: Record) -> LabelMap:
        """The mask of an earlier run."""
        # Post-processing may have given it other labels than the pipeline's.
        known = self.pipeline.labels
        entries = tuple(_again(name, values, known) for name, values in old["labels"].items())
        mask, _ = read_labels(path, Labels(entries, known.ignore), options=self.pipeline.input)
        return mask

    def _reference(
        self, study: Study, masks: Sequence[LabelMap]
    ) -> tuple[LabelMap | None, tuple[Caution, ...]]:
        if study.reference is None:
            return None, ()
        if len(masks) > 1:
            raise StudyError(
                "E_NDIM", "a reference is compared with a 3D mask, not a series", study.reference
            )
        return read_labels(study.reference, masks[0].labels, masks[0].grid, self.pipeline.input)


def map_path(output: Path, kind: str, study: str) -> Path:
    """Where a study's map of instances or of entropy lies in an output folder."""
    return output / kind / f"{study}.nii.gz"


def _named(kind: str, path: Path, sha256: str) -> Record:
    return {kind: {"file": f"{path.parent.name}/{path.name}", "sha256": sha256}}


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _again(name: str, values: Sequence[int], known: Labels) -> Label:
    """A label of a record, with the colour and the code that the pipeline has for its name."""
    if name not in known.names:
        return Label(name, tuple(values))
    return replace(known[name], values=tuple(values))
