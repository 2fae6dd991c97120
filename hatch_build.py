"""While a wheel is built, NiiVue is brought in by npm; without npm reports keep their pictures."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = "medseg/run/report/viewer_files.py"


class BringViewer(BuildHookInterface):  # type: ignore[type-arg]
    """Asks for the viewer once, and puts it into the wheel with its licence."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the viewer unless it is there; say so where it cannot be had."""
        del version
        spec = spec_from_file_location("viewer_files", Path(self.root) / FILES)
        assert spec is not None
        assert spec.loader is not None
        viewer = module_from_spec(spec)
        spec.loader.exec_module(viewer)
        try:
            script = viewer.viewer_script() or viewer.fetch_viewer()
        except viewer.ViewerMissingError as why:
            self.app.display_warning(f"reports are built without their viewer: {why}")
            return
        build_data["artifacts"].append(str(script.relative_to(self.root)))
