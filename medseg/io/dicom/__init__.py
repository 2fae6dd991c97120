"""DICOM: series to scans, masks to SEG and RTSTRUCT and back. Needs the extra ``dicom``.

Nothing here reads a tag that names a patient, except to hand the patient module of the source on
to a SEG or an RTSTRUCT, which must carry it.
"""
