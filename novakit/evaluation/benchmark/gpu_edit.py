"""An edit from end to end at full size, with a random VAE: encode, read the source, denoise, decode. Source: ours.

The same steps as `NovaEditPipeline`, for all schemes alike, with a prompt of full length (the text encoder's own time
is left out: an empty prompt is encoded once and kept). VAE: encode in float32, decode in bfloat16.
"""

from __future__ import annotations

from novakit.evaluation.benchmark.gpu_measure import Numbers, quickest_attention, use_attention
from novakit.evaluation.benchmark.gpu_setup import (
    Setup,
    build_network,
    clock,
    forget_peak,
    once,
    peak,
    random_inputs,
    require_finite,
)
from novakit.presets import get_preset


def measure_edit(setup: Setup, known: Numbers, name: str) -> Numbers:
    """Seconds of `setup.steps` denoising steps without guidance and of what comes before and after.

    Args:
        setup: preset, device and number of steps.
        known: numbers so far (the quickest attention).
        name: a scheme of `gpu_setup.SCHEMES`.

    Returns:
        "seconds" of the whole edit, of its parts, and peak memory; "steps_measured" when the denoising was too long to
        be run as a whole and its seconds are a part's, multiplied.
    """
    import torch

    network = build_network(setup, name)
    use_attention(network, quickest_attention(known))
    vae, clip, text = random_vae(setup), random_clip(setup), random_inputs(setup, name, torch.bfloat16).text
    with torch.no_grad():
        edit = Edit(setup, name, network, vae, clip, text)
        edit.steps = 1  # warms up
        edit()
        edit.steps, edit.parts = steps_within(setup, known, name), {}
        forget_peak(setup)
        whole = clock(setup, edit, warm=0)
        require_finite(edit.result, f"the edit of {name}")
    return _whole(setup, edit, whole) | peak(setup)


def steps_within(setup: Setup, known: Numbers, name: str) -> int:
    """Steps that fit into `setup.longest` by the measured forward, at least 2."""
    one = known.get(f"forward.{name}.seconds", 0.0)
    return setup.steps if one * setup.steps <= setup.longest else max(2, int(setup.longest / one))


def _whole(setup: Setup, edit: Edit, seconds: float) -> Numbers:
    """Seconds of the edit and its parts at `setup.steps`."""
    parts = {f"{part}_seconds": taken for part, taken in edit.parts.items()}
    if edit.steps == setup.steps:
        return {"seconds": seconds, **parts}
    denoise = parts["denoise_seconds"] * setup.steps / edit.steps
    more = denoise - parts["denoise_seconds"]
    return {"seconds": seconds + more, **parts, "denoise_seconds": denoise, "steps_measured": float(edit.steps)}


class Edit:
    """One edit as an action; `parts` holds the seconds of its last call by part."""

    def __init__(self, setup: Setup, name: str, network, vae, clip, text) -> None:
        self.setup, self.name, self.network, self.vae, self.clip, self.text = setup, name, network, vae, clip, text
        self.steps, self.parts, self.result = setup.steps, {}, None

    def __call__(self) -> None:
        """Encode, read, denoise, decode."""
        import torch

        self.vae.to(torch.float32)
        self._time("encode", self._encode)
        self._time("source", self._read)
        self._time("denoise", self._denoise)
        self.cache = None
        self.vae.to(torch.bfloat16)
        self._time("decode", self._decode)

    def _time(self, part: str, action) -> None:
        self.parts[part] = once(self.setup, action)

    def _encode(self) -> None:
        import torch

        from novakit.models import encode_clip, prepare_control
        from novakit.models.token_concat import encode_cues

        self.source = None if self.name == "vace" else encode_clip(self.vae, self.clip).to(torch.bfloat16)
        if self.name == "official":
            indices = torch.arange(0, self.clip.shape[2], get_preset(self.setup.preset).interval)
            self.control = encode_cues(self.vae, self.clip[:, :, indices.to(self.clip.device)])
        else:
            self.control = prepare_control(self.vae, self.clip)
        self.control = self.control.to(torch.bfloat16)

    def _read(self) -> None:
        """Keys and values of the source, for the schemes that have a cache."""
        cached = self.name in ("cached", "local")
        self.cache = self.network.encode_source(self.source, self.text) if cached else None

    def _denoise(self) -> None:
        import torch

        from novakit.editing.denoise import Conditions, denoise
        from novakit.models import build_scheduler, latent_shape

        size = (1, self.vae.config.z_dim, *latent_shape(self.vae, self.clip))
        noise = torch.randn(size, device=self.setup.device)
        source = self.source if self.cache is None else None
        conditions = Conditions(self.control, source, self.cache, self.text, None, self.text)
        scheduler = build_scheduler(self.setup.preset)
        self.latents = denoise(self.network, scheduler, noise, self.steps, conditions, lambda i, t, now: now)

    def _decode(self) -> None:
        from novakit.models import decode_latents

        self.result = decode_latents(self.vae, self.latents)


def random_vae(setup: Setup):
    """The preset's VAE with random weights."""
    import torch

    from novakit.models import build_vae

    torch.manual_seed(0)
    with torch.device(setup.device):
        return build_vae(setup.preset).requires_grad_(False).eval()


def random_clip(setup: Setup):
    """A random clip (1, 3, T, H, W) in [-1, 1]."""
    import torch

    preset = get_preset(setup.preset)
    return torch.rand(1, 3, preset.num_frames, preset.height, preset.width, device=setup.device) * 2 - 1
