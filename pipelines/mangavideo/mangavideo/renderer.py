"""The renderer: a worker program that makes a job's video, chunk by chunk, and goes on where another one was interrupted (section 6.6)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from mangavideo import documents, keys, mp3, scenes, video
from mangavideo.errors import ConfigError, RenderError
from mangavideo.jobs import Jobs
from mangavideo.mangadex import USER_AGENT
from mangavideo.scenes import Scene
from mangavideo.settings import Environment, PipelineSettings
from mangavideo.video import Ffmpeg, UnreadablePanel
from mangavideo.work import Work, answering
from stepwell import toolkit
from stepwell.toolkit import http
from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.objects import Bucket

MAX_UNREADABLE = 0.2
TOLERANCE_SECONDS = 1.0
COMPOSERS = 4
"""Frames made at the same time, at most."""

log = toolkit.logger(__name__)


class Pictures:
    """Full frames of panels, made once each. A panel that cannot be read is replaced by the one before it."""

    def __init__(self, bucket: Bucket, folder: Path, shown: Sequence[str | None], cover_url: str | None) -> None:
        self._bucket = bucket
        self._folder = folder
        self._order = list(dict.fromkeys(shown))
        self._cover_url = cover_url
        self._unreadable: set[str | None] = set()

    def frames(self, chunk: Sequence[Scene]) -> list[Path]:
        """The frame of each scene. Raises RenderError when too many panels are unreadable."""
        panels = dict.fromkeys(scene.panel for scene in chunk)
        with ThreadPoolExecutor(min(COMPOSERS, os.cpu_count() or 1)) as composers:
            for panel, problem in zip(panels, composers.map(self._made, panels), strict=True):
                self._refuse(panel, problem)
        return [self._frame(scene.panel) for scene in chunk]

    def forget(self, paths: Sequence[Path], kept: Sequence[Path] = ()) -> None:
        """Give back the disk space of frames that no other chunk needs."""
        for path in set(paths) - set(kept):
            path.unlink(missing_ok=True)

    def _frame(self, panel: str | None) -> Path:
        position = self._order.index(panel)
        for candidate in [*reversed(self._order[: position + 1]), None]:
            self._refuse(candidate, self._made(candidate))
            if candidate not in self._unreadable:
                return self._path(candidate)
        raise AssertionError("unreachable: black can always be made")

    def _path(self, panel: str | None) -> Path:
        return self._folder / f"{self._order.index(panel) if panel in self._order else 'black'}.bmp"

    def _made(self, panel: str | None) -> Exception | None:
        """Make a panel's frame unless it is there; what makes that impossible. Safe for several threads with different panels."""
        path = self._path(panel)
        if path.exists() or panel in self._unreadable:
            return None
        draft = path.with_suffix(".draft")
        try:
            video.compose(self._downloaded(panel), draft)
        except (UnreadablePanel, ObjectNotFound) as error:
            return error
        draft.rename(path)
        return None

    def _refuse(self, panel: str | None, problem: Exception | None) -> None:
        if problem is None:
            return
        self._unreadable.add(panel)
        log.warning("panel unreadable", event_type="panel_unreadable", s3_key=panel, error=str(problem))
        if len(self._unreadable) > MAX_UNREADABLE * len(self._order):
            raise RenderError(f"{len(self._unreadable)} of {len(self._order)} panels cannot be read") from problem

    def _downloaded(self, panel: str | None) -> Path | None:
        if panel is None:
            return self._cover()
        path = self._folder / Path(panel).name
        self._bucket.download_file(panel, path)
        return path

    def _cover(self) -> Path | None:
        if not self._cover_url:
            return None
        path = self._folder / "cover"
        try:
            with http.client(headers={"user-agent": USER_AGENT}) as client:
                path.write_bytes(http.check(client.get(self._cover_url)).content)
            video.compose(path, self._folder / "cover.bmp")  # a cover that cannot be read is none
        except (httpx.HTTPError, http.HttpFailure, UnreadablePanel) as error:
            log.warning("no cover", event_type="cover_missing", error=str(error))
            return None
        return path


class Renderer:
    """One job's video."""

    def __init__(self, environment: Environment, work: Work) -> None:
        self._bucket = environment.assets
        self._jobs = Jobs(environment.jobs)
        self._settings = PipelineSettings.load(environment.settings)
        self._job_id = work.job_id
        self._work = work
        self._chunk_scenes = environment.number("CHUNK_SCENES", scenes.CHUNK_SCENES)
        self._ffmpeg = Ffmpeg(environment.text("VIDEO_PRESET", "medium"), work.check)
        self._base = Path(environment.text("RENDER_DIRECTORY", f"{tempfile.gettempdir()}/render"))

    def render(self) -> dict[str, Any]:
        """Make the video, or find it made. Raises RenderError, ConfigError, JobNotFound, Interrupted, CallbackError."""
        self._jobs.require(self._job_id)
        panels = documents.load(self._bucket, keys.panel_manifest(self._job_id))
        audio = documents.load(self._bucket, keys.audio_manifest(self._job_id))
        if panels is None or audio is None:
            raise ConfigError(f"job {self._job_id!r} has no panel manifest or no audio manifest")
        all_panels = [key for chapter in panels["chapters"] for key in chapter["panel_keys"]]
        plan = scenes.build(audio["segments"], all_panels)
        if not plan:
            raise RenderError("there is nothing to show: no segment has sound")
        difference = scenes.total_seconds(plan) - float(audio["total_duration_seconds"])
        if abs(difference) > TOLERANCE_SECONDS:
            log.warning("scenes and sound differ", event_type="drift", seconds=round(difference, 3))
        fingerprint = scenes.fingerprint(plan, self._ffmpeg.preset, self._chunk_scenes)
        if self._finished(fingerprint):
            return self._result()
        self._jobs.advance(self._job_id, "rendering", 65)
        with self._folder() as folder:
            took = video.stopwatch()
            self._make(folder, plan, audio["segments"], panels["cover_url"], fingerprint)
            log.info(
                "rendered", event_type="rendered", seconds=took(), scenes=len(plan), s3_key=keys.video(self._job_id)
            )
        return self._result()

    def _make(
        self, folder: Path, plan: list[Scene], segments: list[dict[str, Any]], cover_url: str | None, fingerprint: str
    ) -> None:
        sound = self._sound(folder, segments)
        self._jobs.advance(self._job_id, "rendering", 70)
        chunks = self._chunks(folder, plan, cover_url, fingerprint)
        target = folder / "video.mp4"
        self._ffmpeg.assemble(chunks, sound, target)
        found = video.verified(target)
        self._work.check()  # who lost the task must not publish
        metadata = {"scenes": fingerprint, "duration-seconds": f"{found.video_seconds:.3f}"}
        self._bucket.upload_file(target, keys.video(self._job_id), content_type="video/mp4", metadata=metadata)
        self._hand_over()
        self._bucket.delete(keys.checkpoint(self._job_id))
        self._bucket.delete_many([found.key for found in self._bucket.list(keys.chunks(self._job_id))])

    def _sound(self, folder: Path, segments: list[dict[str, Any]]) -> Path:
        pieces: list[Path] = []
        for segment in segments:
            self._work.check()
            if segment["missing"]:
                continue
            path = folder / Path(segment["s3_key"]).name
            self._bucket.download_file(segment["s3_key"], path)
            pieces.append(path)
        target = folder / "sound.mp3"
        self._ffmpeg.merge(pieces, target)
        merged, expected = mp3.duration(target.read_bytes()), sum(float(s["duration_seconds"]) for s in segments)
        if abs(merged - expected) > TOLERANCE_SECONDS:
            raise RenderError(f"the sound has {merged:.2f} s instead of {expected:.2f} s")
        return target

    def _chunks(self, folder: Path, plan: list[Scene], cover_url: str | None, fingerprint: str) -> list[Path]:
        groups = scenes.chunked(plan, self._chunk_scenes)
        paths = [folder / f"chunk_{number:04d}.mp4" for number in range(len(groups))]
        done = self._restored(paths, fingerprint)
        pictures = Pictures(self._bucket, folder, [scene.panel for scene in plan], cover_url)
        with ThreadPoolExecutor(1) as ahead:  # the frames of the next chunk are made while this one is encoded
            coming: Future[list[Path]] | None = None
            for number in range(done, len(groups)):
                self._work.check()
                frames = coming.result() if coming is not None else pictures.frames(groups[number])
                following = groups[number + 1] if number + 1 < len(groups) else None
                coming = ahead.submit(pictures.frames, following) if following else None
                self._ffmpeg.chunk(groups[number], frames, paths[number])
                self._work.check()
                self._bucket.upload_file(paths[number], keys.chunk(self._job_id, number), content_type="video/mp4")
                self._save_checkpoint(fingerprint, number, len(groups))
                progress = 70 + 14 * (number + 1) // len(groups)
                self._jobs.advance(self._job_id, "rendering", progress)
                pictures.forget(frames, coming.result() if coming is not None else frames)
        return paths

    def _restored(self, paths: list[Path], fingerprint: str) -> int:
        """Download the chunks that are finished; how many there are."""
        checkpoint = documents.load(self._bucket, keys.checkpoint(self._job_id))
        if checkpoint is None or checkpoint["scenes_hash"] != fingerprint or checkpoint["total_chunks"] != len(paths):
            return 0
        done = int(checkpoint["last_completed_chunk"]) + 1
        try:
            for number in range(done):
                self._bucket.download_file(keys.chunk(self._job_id, number), paths[number])
        except ObjectNotFound:
            return 0
        log.info("going on", event_type="resumed", chunks_done=done, total_chunks=len(paths))
        return done

    def _save_checkpoint(self, fingerprint: str, number: int, total: int) -> None:
        document = {
            "version": 1,
            "job_id": self._job_id,
            "scenes_hash": fingerprint,
            "last_completed_chunk": number,
            "total_chunks": total,
        }
        documents.save(self._bucket, keys.checkpoint(self._job_id), document)
        log.info("chunk stored", event_type="chunk_stored", chunk=number, s3_key=keys.chunk(self._job_id, number))

    def _finished(self, fingerprint: str) -> bool:
        """Whether an earlier machine made this very video, and could not say so."""
        try:
            made = self._bucket.head(keys.video(self._job_id)).metadata.get("scenes") == fingerprint
        except ObjectNotFound:
            return False
        if made:
            self._hand_over()
        return made

    def _hand_over(self) -> None:
        self._jobs.advance(self._job_id, "awaiting_review" if self._settings.manual_review_mode else "uploading", 85)

    def _result(self) -> dict[str, Any]:
        info = self._bucket.head(keys.video(self._job_id))
        review = self._settings.manual_review_mode
        return {
            "job_id": self._job_id,
            "status": "awaiting_review" if review else "completed",
            "video_s3_key": keys.video(self._job_id),
            "manual_review_mode": review,
            "duration_seconds": float(info.metadata["duration-seconds"]),
            "size_bytes": info.size,
        }

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A folder of this process's own, removed at the end; what a killed one left is removed at the beginning."""
        self._base.mkdir(parents=True, exist_ok=True)
        for left in self._base.glob(f"{self._job_id}.*"):
            if not _alive(left.suffix[1:]):
                shutil.rmtree(left, ignore_errors=True)
        folder = self._base / f"{self._job_id}.{os.getpid()}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def work(task: Work) -> dict[str, Any]:
    """Render the job this machine was launched for."""
    environment = Environment("S3_BUCKET", "DYNAMODB_JOBS_TABLE", "DYNAMODB_SETTINGS_TABLE")
    return Renderer(environment, task).render()


if __name__ == "__main__":
    sys.exit(answering("renderer", RenderError, work))
