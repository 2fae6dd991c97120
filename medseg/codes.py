"""Every code that medseg speaks in, with its cause and its cure.

E_ codes end a study, or a run before it begins; W_ codes travel with a mask. The codes are part
of the public interface; docs/errors.md shows this table.
"""

from __future__ import annotations

from typing import Final

FILES: Final = {
    "E_NOT_FOUND": (
        "The file, or what a link points to, or the other half of a .hdr/.img pair is not there.",
        "Check the path in the pipeline or the manifest; mount the drive it is on.",
    ),
    "E_NOT_A_FILE": (
        "The path is a folder, a pipe, a socket or a device.",
        "Give the path of a regular file.",
    ),
    "E_PERMISSION": (
        "A file cannot be read, or a folder cannot be written to.",
        "Change its permissions, or choose another folder with --output.",
    ),
    "E_EMPTY_FILE": ("The file holds no bytes.", "Copy or download it again."),
    "E_NOT_AN_IMAGE": (
        "The first bytes are those of something else: a Git LFS pointer, a web page, an archive,"
        " a picture, gzip within gzip.",
        "Do what the message says for that kind: git lfs pull, unpack, convert, download again.",
    ),
    "E_TRUNCATED": (
        "The file ends before what its header speaks of, or before its checksum.",
        "Copy or download the file again.",
    ),
    "E_CORRUPT_GZIP": (
        "The packed data or their checksum are damaged.",
        "Copy or download the file again; if it is so at its source, it has to be made anew.",
    ),
    "E_HEADER_INVALID": (
        "A header field is impossible, or contradicts another, or names a form that is not read.",
        "Have the file written anew by the tool it came from, or save it as NIfTI.",
    ),
    "E_TOO_LARGE": (
        "Reading or segmenting the study would pass limits.memory_gib, or it has more than"
        " limits.voxels.",
        "Raise the limit, in the site file or under input, use a coarser spacing, or crop with"
        " 'within'.",
    ),
    "E_DTYPE": (
        "The voxels are colours, vectors, complex numbers or of a type that readers dispute.",
        "Save one number a voxel, as an integer type, float32 or float64.",
    ),
    "E_NDIM": (
        "The image has a number of dimensions, frames or channels that is not wanted here.",
        "For a series set input: {frames: each}; otherwise give one file a channel.",
    ),
    "E_SCALING": (
        "scl_slope or scl_inter is NaN or infinite, or a scaling is disputed among readers.",
        "Have the file written anew with its true scaling.",
    ),
    "E_NONFINITE": (
        "Voxels are NaN or infinite.",
        "Find out what wrote them; set input: {nonfinite: fill} to give them the smallest value.",
    ),
}

GEOMETRY: Final = {
    "E_GEOMETRY_MISSING": (
        "Nothing in the header says where left and right are: sform and qform unset, Analyze 7.5,"
        " no space in NRRD, no TransformMatrix in MetaImage.",
        "Convert the original again; never guess a side.",
    ),
    "E_GEOMETRY_CONFLICT": (
        "sform and qform place the scan differently, or a channel lies on another grid.",
        "Find out which is right and set input: {geometry: sform} or qform; for channels set"
        " input: {align: resample}.",
    ),
    "E_GEOMETRY_SINGULAR": (
        "The affine holds NaN, an axis without length, axes in one plane or no rotation.",
        "Convert the original again.",
    ),
    "E_SPACING": (
        "A voxel's side is zero, negative, NaN or outside 0.01 to 100 mm.",
        "Correct the voxel size or the unit of length in the header.",
    ),
}

DICOM: Final = {
    "E_DICOM_GAP": (
        "Slices of a DICOM series are missing: the message names those on either side.",
        "Send the series again; or set input: {missing_slices: interpolate} to fill in.",
    ),
    "E_DICOM_DUPLICATE": (
        "Slices of a DICOM series lie at one place, and nothing in them says why.",
        "Remove the copies, or send the series again.",
    ),
    "E_DICOM_MIXED": (
        "A folder, a patient's visit or a series holds several stacks, and one is wanted.",
        "Say which by input: {series: {modality: CT}}: number, description, image type or stack.",
    ),
    "E_DICOM_SPACING": (
        "Slices of a DICOM series are unevenly apart or shifted sideways, and not by missing ones.",
        "Look for two series in one; a scan with two slice distances has to be parted.",
    ),
    "E_DICOM_TAG": (
        "A DICOM tag that is needed is missing or cannot be right; the message names it.",
        "Export the series from its source again; for PET without SUV set input: {pet: stored}.",
    ),
    "E_DICOM_SYNTAX": (
        "The pixels are packed in a way that is not read, or cannot be unpacked.",
        "Have the series exported uncompressed.",
    ),
    "E_TIMEOUT": (
        "A study took longer than limits.seconds, or unpacking its pixels longer than it can need.",
        "Raise limits.seconds in the site file; where pixels hang, have the series exported"
        " uncompressed and do not trust the file.",
    ),
    "E_CLUSTER": (
        "The Dask scheduler cannot be reached or was lost, no worker came, or a worker cannot do"
        " the work: it has other packages, or does not see the folders of the run.",
        "Look whether the scheduler runs and its address is right; use one environment and one file"
        " system on all machines; give the command again: what is done stays.",
    ),
    "E_WORKER_DIED": (
        "The process that worked on a study ended, crashed or fell silent, twice; or the one that"
        " unpacks pixels did. Most often the system killed it for want of memory.",
        "Close other programs, take fewer workers, set limits.memory_gib; have the series exported"
        " uncompressed where unpacking ended.",
    ),
}

LABELS: Final = {
    "E_LABEL_VALUES": (
        "A mask holds values that the label table does not have.",
        "Complete 'labels:' or 'ignore:' in the pipeline, or relabel the mask.",
    ),
    "E_LABEL_NOT_INTEGER": (
        "A mask holds numbers that are not whole, as after interpolation.",
        "Resample masks with nearest neighbour, or take the original.",
    ),
    "E_LABEL_GEOMETRY": (
        "A mask does not lie where its scan does, beyond an order of axes.",
        "Check that mask and scan belong together; resample the mask onto the scan's grid.",
    ),
}

RUN: Final = {
    "E_CONFIG": (
        "A pipeline, site or label file has mistakes.",
        "Each is listed with its line, its column and a suggestion.",
    ),
    "E_CHECKPOINT": (
        "Weights are missing, damaged, not finite or of another network.",
        "Train the pipeline, or give the model folder that these weights came with.",
    ),
    "E_UNSAFE": (
        "A model's file asks for something to be called that no model needs; nothing was run.",
        "Do not trust the file; ask its makers for weights as safetensors or as a state dict.",
    ),
    "E_FOREIGN_MODEL": (
        "A model of another project lacks a part, or asks for something that medseg does not do.",
        "The message names the file, the key and what is wanted there.",
    ),
    "E_NO_INPUT": (
        "There is nothing to work on where the pipeline or the command looks.",
        "Give --input or --reference; medseg ls PATH shows what is found there.",
    ),
    "E_DUPLICATE_ID": (
        "Two studies would have the same name and write the same files.",
        "Rename one of them, or give a manifest with names of its own.",
    ),
    "E_NO_SOURCE": (
        "A SEG or an RTSTRUCT is wanted of a scan that is no DICOM series.",
        "Give the DICOM series; or take 'dicom_seg' and 'rtstruct' out of output.formats.",
    ),
    "E_OUTPUT_NAME": (
        "No output file can have this name.",
        "Choose a shorter name, or one that no folder has; masks end in .nii.gz or .nii.",
    ),
    "E_PATH_ESCAPE": (
        "A name leads out of the folder it belongs to.",
        "Remove '..', absolute paths and links out of the folder.",
    ),
    "E_NONFINITE_OUTPUT": (
        "The network's answer holds NaN or infinite numbers.",
        "Check the preprocessing against the training's; switch mixed precision off.",
    ),
    "E_MEMORY": (
        "The machine has not enough memory for the study, or it held more than its part.",
        "Close other programs, set limits.memory_gib, or use a coarser spacing.",
    ),
    "E_GPU_MEMORY": (
        "The accelerator has not enough memory for the study.",
        "Use a smaller window, or --device cpu.",
    ),
    "E_DISK_FULL": (
        "There is no room left where results are written.",
        "Free some room, then run the same command again.",
    ),
    "E_VERIFY": (
        "What was written could not be made to last or read back the same.",
        "Check the disk or the network drive, then run the same command again.",
    ),
    "E_LOCKED": (
        "Another run is writing to the same output folder.",
        "Wait for it, or choose another folder with --output.",
    ),
}

CAUTIONS: Final = {
    "W_SUFFIX": (
        "The file is not what its suffix says.",
        "Its contents were believed; rename it so that other tools read it too.",
    ),
    "W_TRAILING_BYTES": (
        "Bytes follow the voxels.",
        "They were left out; check that the header's shape is right.",
    ),
    "W_BITPIX": (
        "bitpix and datatype contradict each other.",
        "The datatype was believed; have the file written anew.",
    ),
    "W_EXTENSION": (
        "A NIfTI header extension does not keep to the format.",
        "It was passed over; have the file written anew.",
    ),
    "W_SCALING": (
        "scl_inter is set while scl_slope is 0, which means no scaling.",
        "The values were taken as stored; check that they are what they should be.",
    ),
    "W_UNITS": (
        "Lengths are not in mm.",
        "They were turned into mm; check that the voxel size is plausible.",
    ),
    "W_SPACING": (
        "pixdim and sform give different voxel sizes, or a 2-D image has no thickness.",
        "The sform was believed, or 1 taken; check sizes where volumes matter.",
    ),
    "W_GEOMETRY_SHEAR": (
        "The axes are not at right angles, as with a tilted gantry.",
        "The mask keeps the scan's axes; take surface distances with care.",
    ),
    "W_CONSTANT": (
        "Every voxel has the same value.",
        "Look at the scan; a mask of it says nothing.",
    ),
    "W_INTENSITY": (
        "Values look odd: a handful of them as in a mask, extremes far from all others, or"
        " NaN that were filled.",
        "Look at the scan before the mask is used.",
    ),
    "W_SLICE": (
        "A slice repeats the one before it, or holds one value between others.",
        "Look at the scan; a slice may have been lost in a transfer.",
    ),
    "W_NAME": (
        "A study's name was changed so that it can be a file's name.",
        "The record holds both; rename the files to be rid of it.",
    ),
    "W_LOOKS_LIKE_OUTPUT": (
        "A scan carries medseg's own label table, as its masks do.",
        "Check that the input folder is not an output folder.",
    ),
    "W_LABEL_ROUNDED": (
        "A mask's values were whole numbers only within 0.001.",
        "They were rounded; save masks as integers.",
    ),
    "W_LABEL_ABSENT": (
        "A SEG or RTSTRUCT has no structure for a label.",
        "It was taken to be empty; name the structure by input: {rois: ...} if there is one.",
    ),
    "W_LABEL_OVERLAP": (
        "Voxels are in two structures of a SEG or RTSTRUCT, and labels cannot overlap.",
        "They have the label that comes later in the table; change its order if that is wrong.",
    ),
    "W_LABEL_OUTSIDE": (
        "Parts of a SEG or RTSTRUCT lie outside the scan, or are no closed outlines.",
        "They were left out; check that it belongs to this scan.",
    ),
    "W_LABEL_REORIENTED": (
        "A mask lay in another order of axes than its scan.",
        "It was turned without resampling; nothing is lost.",
    ),
    "W_UNUSED_WEIGHTS": (
        "A checkpoint of another project holds tensors that have no place in the network.",
        "They are named; heads that only training uses may be left out, other tensors should not.",
    ),
    "W_FALLBACK": (
        "The work was done in a slower or more careful way than asked for.",
        "The message says which; the result is valid.",
    ),
    "W_PRECISION": (
        "The first study was done in two precisions, to choose one for all.",
        "Nothing to do; the message says how well the two agreed and which is taken.",
    ),
    "W_DICOM_GAP": (
        "Slices of a DICOM series are missing and were interpolated, as asked for.",
        "The message says which; what the mask says there is not seen in any slice.",
    ),
    "W_DICOM_MONOCHROME1": (
        "The series is meant to be shown with low values bright.",
        "The values were taken as stored; see that the pipeline wants them so.",
    ),
    "W_DICOM_ASIDE": (
        "DICOM files that may have been slices cannot be read.",
        "They were left out; copy them again if the scan's ends are cut.",
    ),
    "W_BORDER": (
        "A label reaches the edge of the scan.",
        "Its volume may be that of a part; see whether the scan shows all of it.",
    ),
    "W_FRAGMENTS": (
        "A label is in many pieces.",
        "Look at the mask; a remove_small or keep_largest step may be wanted.",
    ),
    "W_VOLUME": (
        "A label's volume is outside the range that was given or seen in training.",
        "Look at the mask, and whether the scan is of the kind that the model knows.",
    ),
    "W_CONFIDENCE": (
        "The mean probability of a label's voxels is low.",
        "Look at the mask and, with probabilities: {entropy: true}, at where it is unsure.",
    ),
    "W_DISAGREEMENT": (
        "The networks of an ensemble drew a label differently.",
        "Look at the mask, and whether the scan is of the kind that the networks know.",
    ),
    "W_EMPTY_MASK": (
        "No label was found in the scan.",
        "Look at the scan; that there is nothing may be true.",
    ),
}

CODES: Final[dict[str, tuple[str, str]]] = {
    **FILES,
    **GEOMETRY,
    **DICOM,
    **LABELS,
    **RUN,
    **CAUTIONS,
}
"""Code to (cause, cure)."""
