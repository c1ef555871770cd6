"""A file of any size goes through the downloader with the same memory.

1 GB by default; STEPWELL_STREAM_GB=5 pytest -s tests/pipelines/test_cloudsync/test_streaming.py prints the figure for 5 GB.
"""

import json
import os
import uuid

import msgspec
import pytest
from mediacloud import BLOCK, Media, SyntheticContent

from stepwell.functions.pool import FunctionPool
from stepwell.functions.spec import Call

from .test_acceptance_archive import MIB_100, etag_of_parts

GB = 1024**3
SIZE = int(float(os.environ.get("STEPWELL_STREAM_GB", "1")) * GB)


@pytest.mark.slow
async def test_memory_is_flat(cloud, sync, capsys):
    sizes = {"warm": 3 * MIB_100, "large": SIZE}
    cloud.add(*(Media(name, f"GH-{name}.MP4", SyntheticContent(size)) for name, size in sizes.items()))
    world = sync()
    spec = world.project.functions["video-downloader"]
    variables = {**spec.environment, **world.variables, "STEPWELL_DATA": str(world.data)}
    spec = msgspec.structs.replace(spec, environment=variables, concurrency=1)
    peaks, speeds = {}, {}
    async with FunctionPool([spec]) as pool:
        for name, size in sizes.items():
            event = {
                "media_id": name,
                "filename": f"GH-{name}.MP4",
                "file_size": size,
                "upload_date": "2025-11-10",
                "execution_id": "e",
            }
            result = await pool.invoke(spec.name, json.dumps(event).encode(), call=Call(request_id=str(uuid.uuid4())))
            assert result.error is None, result.error
            answer = json.loads(result.payload)
            assert (answer["message"], answer["bytes_transferred"]) == ("Uploaded", size)
            peaks[name], speeds[name] = result.memory_mb, answer["throughput_mbps"]
    with capsys.disabled():
        print(
            f"\n{SIZE / GB:.1f} GB through the downloader: peak {peaks['large']} MB of the worker "
            f"(after {sizes['warm'] / 1e6:.0f} MB it was {peaks['warm']} MB), {speeds['large']:.0f} Mbit/s"
        )
    assert peaks["large"] <= peaks["warm"] + 16, "not one MB more for a larger file"
    assert peaks["large"] < 2 * MIB_100 / BLOCK + 128, "two parts and the program"
    assert speeds["large"] >= 50
    assert world.bucket.head("gopro-videos/2025/11/GH-large.MP4").etag.endswith(f"-{-(-SIZE // MIB_100)}")
    assert world.row("warm")["s3_etag"] == etag_of_parts(SyntheticContent(sizes["warm"]), MIB_100)
    assert not world.uploads()
    world.bucket.delete_many(world.archived())
