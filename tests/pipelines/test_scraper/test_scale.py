"""100 photos an itinerary, six itineraries at once: no stranded job, counters exact."""

from __future__ import annotations

import re

import pytest
from scraper.audit import audit
from travelsim import journey

from .world import url_of


@pytest.mark.slow
def test_six_itineraries_of_a_hundred_photos(world_of):
    names = [f"big{number}" for number in range(6)]
    with world_of() as world:
        for name in names:
            world.portal.add(journey(name, 100))
        missing = sorted(world.portal.itineraries["big5"].photos)[:4]
        for key in missing:
            del world.portal.photos[key]
        refused: set[int] = set()

        def once(request):  # every seventh upload is refused the first time
            name = re.search(rb'filename="big(\d)_(\d+)', request.body)
            photo = int(name[1] + name[2]) if name else 0
            new = photo % 7 == 0 and photo not in refused
            refused.add(photo)
            return new

        world.payload.fail("POST", r"^/api/media$", status=503, times=1000, when=once)
        world.model.fail("POST", status=429, times=5)
        jobs = [world.start(url_of(name)) for name in names]
        runs = [world.wait(job) for job in jobs]
        for run, name in zip(runs, names, strict=True):
            failed = len(missing) if name == "big5" else 0
            assert run.status == "SUCCEEDED" and run.job["status"] == "completed", run.job["errorMessage"]
            counts = [run.job[count] for count in ("totalImages", "processedImages", "skippedImages", "failedImages")]
            assert counts == [100, 100 - failed, 0, failed]
            assert run.job["imagesToLabel"] == run.job["imagesLabeled"] == 100 - failed
            assert run.job["progress"] == 100
            assert len(run.itinerary["images"]) == 100 - failed == len(set(run.itinerary["images"]))
            rows = world.rows(run.job_id)
            assert len(rows) == 100 and {row["status"] for row in rows} <= {"complete", "failed"}
        media = world.photos()
        assert len(media) == 596 == len({found["sourceS3Key"] for found in media})
        assert len([key for key in world.objects() if key.startswith("media/originals/")]) == 596
        formats = {found["mimeType"] for found in media}
        assert formats == {"image/jpeg", "image/png", "image/webp"}
        assert audit(world.cms) == []
        assert world.get("/api/scraper-health")["stuckJobs"] == []
