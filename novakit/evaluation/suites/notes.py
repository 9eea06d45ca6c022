"""What must be said beside the tables of each suite, so that nobody reads too much into them. Source: ours."""

from __future__ import annotations

from novakit.evaluation.suites.rows import BLUR_SIGMA

FAIR = (
    "No row is post-processed. NOVA is given no mask; rows that are told it say so. Keyframes are frames of the "
    "rendered truth unless the row says otherwise. The unedited source scores perfectly on most metrics: read all "
    "beside SR."
)
SECONDS = (
    "Seconds per clip: median wall time of the edit with the weights loaded, tuning included; batches of four share "
    "theirs."
)
BASELINES = (
    "Every baseline is the idea of its paper on the kit's own base, not the published system; its file says what "
    "was kept and left out. The paper has one row of VACE and does not say which of our two it is. Added "
    "parameters are those that a method adds to the base or trains."
)
EDITED = (
    "*w/o consistency-aware keyframes* needs keyframes that an editor made. So the pair *edited keyframes, "
    "consistent* and *edited keyframes, independent* gets frames of the truth with the faults of real editors "
    "(tone, place and hue stray), drawn from the same seeds; the two differ in nothing but whether the later "
    "keyframes were told the first. Compare these two with each other: NOVA's first row has keyframes without any "
    "fault."
)
STEADY = (
    "Consistent keyframes repeat the first one's faults, so they are no nearer to the truth than independent ones; "
    "*steady* is the PSNR inside the mask against the truth as the first keyframe shows it. The faults stay inside "
    "the mask, and BG-SSIM cannot fall as it did in the paper, whose editor repainted whole frames."
)
BLURRED = (
    f"*blurred dense input*: the source out of focus by a Gaussian of {BLUR_SIGMA:g} pixels, for the dense branch "
    "only. The row *blurred source* is what went in. *sharpness*: steps from pixel to pixel in the background, the "
    "source's = 1."
)
LENGTH = (
    "Clips have 33 frames, one window of the network: with keyframe interval 20 frames 21 to 32 hold the last "
    "keyframe, frame 20. Rows of 81 frames are edited in three overlapping windows, as `novakit edit` does."
)
SIZES = (
    "*small training: the full recipe, N clips*: as many updates as all small trainings of the claims, on the first N "
    "clips; 64 scenes, one seed."
)
LOCAL = (
    "*the dense branch sees its own latent frame*: frame-local cross-attention, which is cheaper, with weights that "
    "learned to see the whole clip."
)
EDITORS = (
    "*offline editor* and *poster style* are two styles of one program, each measured against its own fault-free "
    "work on every frame. That shows whether NOVA minds the style of the keyframes (soft shading, or flat steps "
    "with ink). It cannot show what swapping one neural editor for another does: those also differ in what they "
    "paint and how they stray."
)
CORRUPTED = (
    "*degraded*: keyframes spoilt in random regions by the operations of training (eq. 2). *faulty*: an editor's "
    "stray tone, place and hue, each keyframe for itself; strength 1 is of the size that real editors show."
)
STYLE = (
    "*whole frame in another style* is a limit that the paper states: there is no background to keep, and no BG-SSIM."
)
DECIDED = (
    "A claim holds when all of its deciding rules pass. Rows and margins were written down before the measurement; "
    "that TC and FC decide only C2, and are told elsewhere, was settled after a first look at four scenes, in which "
    "the embedded encoder gave every row, the truth included, a TC of 0.999. Intervals are 95 %, bootstrapped over "
    "scenes, each with all of its seeds; rows are compared on the same scenes and seeds."
)
SHARED = "Rows that other suites hold too were measured once, and stand in the files of those suites."

NOTES: dict[str, tuple[str, ...]] = {
    "table1": (FAIR, SECONDS, BASELINES),
    "table2": (FAIR, SECONDS, EDITED, STEADY, BLURRED),
    "robustness": (FAIR, SECONDS, LENGTH, EDITORS, CORRUPTED, STYLE, LOCAL, SIZES),
    "claims": (DECIDED, SHARED),
}
