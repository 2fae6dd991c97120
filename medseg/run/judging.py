"""What is said of a study's masks: metrics beside the reference, instances, flags of quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Label, LabelMap, Labels, Study
from medseg.io import Geometry, read_labels, sha256_of, write_mask
from medseg.metrics import Comparison
from medseg.metrics.instances import numbered
from medseg.pipeline import Pipeline
from medseg.run.folder import inside
from medseg.run.instances import instances_of
from medseg.run.records import Record, measured, rounded, write_record


@dataclass(frozen=True)
class Judge:
    """Says of masks what a pipeline asks for."""

    pipeline: Pipeline
    output: Path

    def stamp(self, study: Study) -> dict[str, str | None]:
        """What is said rests on this: the reference's bytes and what was asked."""
        pipeline = self.pipeline
        return {
            "reference_sha256": None if study.reference is None else sha256_of(study.reference),
            "metrics": "; ".join(map(repr, pipeline.metrics)) if study.reference else "",
            "instances": repr(pipeline.instances) if pipeline.instances else "",
        }

    def said(
        self,
        study: Study,
        masks: Sequence[LabelMap],
        geometry: Geometry | None = None,
        shares: NDArray[np.uint16] | None = None,
    ) -> tuple[Record, tuple[Caution, ...]]:
        """What the record says of masks beside their reference, and what to know about them.

        ``shares (X, Y, Z, L)`` of 65535 are how sure the networks were of the pipeline's labels.
        """
        reference, cautions = self._reference(study, masks)
        comparison = None if reference is None else Comparison(masks[0], reference)
        asked_for = self.pipeline.metrics if comparison is not None else ()
        measures = [measure for metric in asked_for for measure in metric(comparison)]
        said: Record = {
            "judged_by": self.stamp(study),
            "reference_volumes_ml": {} if reference is None else rounded(reference.volumes_ml()),
            "metrics": measured(measures),
        }
        asked = self.pipeline.instances
        if asked is not None:
            sure = self._sure(shares)
            said["instances"] = instances_of(study.name, asked, (masks, reference), sure)
            if asked.masks:
                path = inside(self.output, self.output / "instances" / f"{study.name}.nii.gz")
                write_mask(path, numbered(masks[0], asked.labels, asked.connectivity), geometry)
        flags = [flag for mask in masks for flag in self.pipeline.quality.flags(mask)]
        return said, (*cautions, *flags)

    def _sure(self, shares: NDArray[np.uint16] | None) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Probabilities (X, Y, Z) of the labels whose instances are asked for."""
        if shares is None or self.pipeline.instances is None:
            return {}
        names = self.pipeline.labels.names
        wanted = self.pipeline.instances.labels or names
        return {
            name: shares[..., place] / np.float32(65535)
            for place, name in enumerate(names)
            if name in wanted
        }

    def again(self, study: Study, mask_path: Path, old: Record) -> Record:
        """The record of a mask that stands, said anew where the reference or the asking changed."""
        if old.get("judged_by") == self.stamp(study):
            return old
        judged, _ = self.said(study, [self.old_mask(mask_path, old)])
        record = {**old, **judged}
        if "instances" not in judged:
            record.pop("instances", None)
        write_record(self.output, record)
        return record

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


def _again(name: str, values: Sequence[int], known: Labels) -> Label:
    """A label of a record, with the colour and the code that the pipeline has for its name."""
    if name not in known.names:
        return Label(name, tuple(values))
    return replace(known[name], values=tuple(values))
