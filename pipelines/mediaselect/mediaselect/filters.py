"""Filters mode of video enhancement (section 11.2): the model says numbers, they are clamped, and only numbers reach ffmpeg."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mediaselect import ffmpeg, prompts, retouching, schemas
from mediaselect.errors import AiRefused
from mediaselect.verdicts import Unusable, parse_json
from stepwell.toolkit.logs import logger

if TYPE_CHECKING:
    from mediaselect.videos import Enhanced, VideoEnhancer

log = logger(__name__)

RANGES: Final[Mapping[str, tuple[float, float, float]]] = {
    "brightness": (-0.25, 0.25, 0.0),
    "contrast": (0.80, 1.40, 1.0),
    "saturation": (0.60, 1.60, 1.0),
    "gamma": (0.70, 1.50, 1.0),
    "temperatureKelvin": (4000.0, 9000.0, 6500.0),
    "sharpen": (0.0, 1.5, 0.0),
}
"""Lowest, highest, neutral."""
STRENGTHS: Final = ("none", "light", "medium", "strong")
DENOISE: Final = {"light": "2:1.5:3:2.25", "medium": "4:3:6:4.5", "strong": "8:6:12:9"}
SHAKINESS: Final = {"light": 3, "medium": 5, "strong": 8}
SMOOTHING: Final = {"light": 10, "medium": 20, "strong": 30}
MAX_ROUNDS = 3
TRANSFORMS = "transforms.trf"
PREVIEW = "preview.webm"


@dataclass(frozen=True)
class Filters:
    """A set of filters; the defaults are neutral."""

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    gamma: float = 1.0
    temperatureKelvin: float = 6500.0
    sharpen: float = 0.0
    denoise: str = "none"
    stabilize: str = "none"

    @classmethod
    def read(cls, document: Any) -> Filters:
        """From the model's answer: numbers are clamped; what is missing, not a number or unknown is neutral."""
        found: dict[str, Any] = {}
        for name, value in (document if isinstance(document, dict) else {}).items():
            if name in RANGES:
                low, high, _ = RANGES[name]
                if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
                    found[name] = min(high, max(low, float(value)))
            elif name in ("denoise", "stabilize") and value in STRENGTHS:
                found[name] = value
        return cls(**found)

    @property
    def neutral(self) -> bool:
        """Whether nothing would change."""
        return self == Filters()

    def chain(self) -> list[str]:
        """Ffmpeg's filters in their order, without the neutral ones and without stabilisation, which is prepared apart."""
        chain: list[str] = []
        if self.denoise != "none":
            chain.append(f"hqdn3d={DENOISE[self.denoise]}")
        eq = [
            f"{name}={getattr(self, name):.4f}"
            for name in ("brightness", "contrast", "saturation", "gamma")
            if getattr(self, name) != RANGES[name][2]
        ]
        if eq:
            chain.append("eq=" + ":".join(eq))
        if self.temperatureKelvin != 6500.0:
            chain.append(f"colortemperature=temperature={self.temperatureKelvin:.0f}")
        if self.sharpen:
            chain.append(f"unsharp=5:5:{self.sharpen:.3f}:5:5:0")
        return chain

    def __str__(self) -> str:
        said = [f"{field.name} {value:g}" if isinstance(value, float) else f"{field.name} {value}"
                for field in fields(self) if (value := getattr(self, field.name)) != field.default]  # fmt: skip
        return ", ".join(said) or "none"


def enhance(enhancer: VideoEnhancer, source: Path, known: ffmpeg.Probe | None, wishes: Sequence[str]) -> Enhanced:
    """Ask, render a preview, ask again, at most three times; then one render of the source with the set that scored best.

    Raises AiRefused, AiUnavailable, MediaToolError.
    """
    from mediaselect.videos import Enhanced, render

    preview = enhancer.folder / PREVIEW
    ffmpeg.preview(str(source), preview, known, timeout=enhancer.deadline.within(ffmpeg.PREVIEW_SECONDS))
    applied = Filters()
    best: tuple[float, Filters] | None = None
    first: dict[str, Any] | None = None
    shown = preview
    for number in range(MAX_ROUNDS + 1):
        try:
            analysis, wanted = _ask(enhancer, shown, applied, wishes)
        except Unusable as error:
            log.warning("answer not usable", event_type="answer_unusable", reason=str(error))
            if best is None:
                raise AiRefused("the model gave no usable filters") from error
            break
        first = first or analysis
        score = analysis["professionalScore"]
        if best is None or score > best[0]:
            best = (score, applied)
        if analysis["noFurtherEditsNeeded"] or (number and score >= retouching.PUBLISHABLE) or wanted == applied:
            break
        if number == MAX_ROUNDS or enhancer.deadline.remaining() < 240.0:
            break
        applied = wanted
        shown = enhancer.folder / f"round{number}.webm"
        _render_preview(enhancer, preview, shown, applied)
    assert best is not None
    chosen = best[1]
    if chosen.neutral:
        return Enhanced(None, "no changes needed", first)
    out = enhancer.folder / "enhanced.mp4"
    render(
        source,
        out,
        [*_stabilise(enhancer, source, chosen), *chosen.chain(), "format=yuv420p"],
        known,
        enhancer.deadline,
        enhancer.folder,
    )
    return Enhanced(out, f"Filters applied: {chosen}.", first)


def _ask(
    enhancer: VideoEnhancer, shown: Path, applied: Filters, wishes: Sequence[str]
) -> tuple[dict[str, Any], Filters]:
    from mediaselect.videos import wishes_text

    link = enhancer.models.upload(shown, "video/webm")
    try:
        answer = enhancer.models.generate(
            enhancer.settings.model_analysis,
            [link, prompts.prompt("filters-user", applied=json.dumps(asdict(applied)), feedback=wishes_text(wishes))],
            system=prompts.prompt("filters-system"),
            operation="video-filters",
            schema=schemas.VIDEO_FILTERS,
        )
    finally:
        enhancer.models.delete(link)
    document = parse_json(answer.text)
    if not isinstance(document, dict):
        raise Unusable("the answer is not a JSON object")
    return retouching.read_analysis(answer.text), Filters.read(document.get("filters"))


def _render_preview(enhancer: VideoEnhancer, preview: Path, out: Path, chosen: Filters) -> None:
    chain = ",".join([*chosen.chain(), "format=yuv420p"])
    ffmpeg.run(
        ["-i", str(preview), "-map", "0:v:0", "-map", "0:a?", "-vf", chain, "-c:v", "libsvtav1", "-crf", "35", "-preset", "8",
         "-c:a", "copy", "-f", "webm", str(out)],
        timeout=enhancer.deadline.within(120.0),
        what="rendering a preview",
    )  # fmt: skip


def _stabilise(enhancer: VideoEnhancer, source: Path, chosen: Filters) -> list[str]:
    """The filter of the second pass, after the first pass has looked at the source."""
    if chosen.stabilize == "none":
        return []
    if "vidstabtransform" not in ffmpeg.filters():
        return ["deshake"]
    transforms = enhancer.folder / TRANSFORMS
    ffmpeg.run(
        ["-i", str(source), "-map", "0:v:0", "-vf",
         f"vidstabdetect=shakiness={SHAKINESS[chosen.stabilize]}:accuracy=15:result={transforms}", "-f", "null", "-"],
        timeout=enhancer.deadline.within(300.0),
        what="looking at the camera's movement",
    )  # fmt: skip
    return [f"vidstabtransform=input={TRANSFORMS}:smoothing={SMOOTHING[chosen.stabilize]}:optzoom=1:interpol=bicubic"]
