"""Acceptance statements on whole runs: states, pages, retries, failures that cost others nothing."""

from mediacloud import BytesContent, Media


def media(number, *, size=1000, name=None, **options):
    return Media(f"m{number}", name or f"GH{number:06}.MP4", BytesContent(bytes([number % 256]) * size), **options)


async def test_01_states_of_a_run_of_one_page(cloud, sync):
    cloud.add(media(1), media(2))
    run = await sync().run({})
    assert run.status == "SUCCEEDED"
    assert run.visited == [
        "GenerateCorrelationId", "ValidateTokens", "CheckTokenValidity", "ListMedia", "CheckNewVideos", "DownloadVideos",
        "TallyPage", "CheckMorePages", "GenerateSummary", "CheckForFailures", "SyncComplete",
    ]  # fmt: skip
