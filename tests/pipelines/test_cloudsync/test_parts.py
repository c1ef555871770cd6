"""The pipeline's rules that need neither machine nor network."""

import json
import tomllib
from datetime import UTC, datetime

import pytest
from cloudsync.config import ENVIRONMENTS, Settings, environment_record
from cloudsync.credentials import Credentials, cookie
from cloudsync.downloader import DownloadRequest
from cloudsync.functions import correlation
from cloudsync.retry import retry
from cloudsync.tools import read_cookies
from cloudsync.tracker import throughput_mbps, two_decimals

from cloudsync import errors, gopro, keys, provider

from . import PROJECT

SAMPLE = {
    "_pages": {"current_page": 1, "per_page": 30, "total_items": 64, "total_pages": 3},
    "_embedded": {
        "errors": [],
        "media": [
            {
                "id": "mABC123",
                "type": "Video",
                "filename": "GH010042.MP4",
                "file_size": 734003200,
                "created_at": "2025-11-10T14:23:45Z",
                "captured_at": "2025-11-09T09:00:00Z",
                "source_duration": "187321",
                "duration": None,
                "width": 3840,
                "height": 2160,
                "token": "tok-1",
            },
            {
                "id": "mDEF456",
                "type": "Photo",
                "filename": "GOPR0007.JPG",
                "file_size": None,
                "captured_at": "2025-11-08T10:00:00Z",
            },
            {"id": "mGHI789", "type": "MultiClipEdit", "filename": None, "file_size": None},
            {"id": "mJKL012", "type": "Video", "filename": "PXL_20251101_120000.mp4", "file_size": "52428800"},
        ],
    },
}


def page_of(document, page=1):
    return gopro.parse_page(json.dumps(document).encode(), page, 30)


# --- listing


def test_fields_of_the_documented_sample():
    page = page_of(SAMPLE)
    first, photo, edit, phone = page.items
    assert first.state() == {
        "media_id": "mABC123",
        "filename": "GH010042.MP4",
        "file_size": 734003200,
        "upload_date": "2025-11-10T14:23:45Z",
        "duration": 187,
        "media_type": "video",
        "resolution": "3840x2160",
    }
    assert (photo.file_size, photo.upload_date, photo.media_type, photo.resolution) == (
        0,
        "2025-11-08T10:00:00Z",
        "photo",
        "unknown",
    )
    assert edit.filename == "" and phone.file_size == 52428800
    assert vars(page.pagination) == SAMPLE["_pages"]
    assert "tok-1" not in json.dumps([item.state() for item in page.items]) + page.sample


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("187321", 187),
        (18969, 18),
        (None, 0),
        ("", 0),
        ("abc", 0),
        (-5000, 0),
        (True, 0),
        ("1e400", 0),
        ("nan", 0),
        (999, 0),
        (1999.9, 1),
    ],
)
def test_durations_are_milliseconds(raw, seconds):
    assert gopro.map_item({"id": "m", "filename": "GH1.MP4", "source_duration": raw}).duration == seconds
    assert gopro.map_item({"id": "m", "filename": "GH1.MP4", "duration": raw}).duration == seconds


def test_duration_wins_over_source_duration():
    assert gopro.map_item({"id": "m", "duration": 5000, "source_duration": 9000}).duration == 5


@pytest.mark.parametrize(
    ("raw", "size"),
    [(None, 0), ("", 0), ("12", 12), (12, 12), ("x", 0), (-1, 0), (2**60 + 1, 2**60 + 1), (1.0, 1), ([], 0)],
)
def test_f11_unknown_sizes_are_zero_and_keep_the_item(raw, size):
    page = page_of(
        {"_pages": {"total_pages": 1}, "_embedded": {"media": [{"id": "m", "filename": "GH1.MP4", "file_size": raw}]}}
    )
    assert [item.file_size for item in page.items] == [size]


@pytest.mark.parametrize(
    ("entry", "date"),
    [
        ({"created_at": "a", "captured_at": "b"}, "a"),
        ({"created_at": "", "captured_at": "b"}, "b"),
        ({"created_at": None, "client_updated_at": "c"}, "c"),
        ({}, ""),
    ],
)
def test_upload_date_is_the_first_there_is(entry, date):
    assert gopro.map_item({"id": "m", **entry}).upload_date == date


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("Video", "x.jpg", "video"),
        (None, "GH1.MP4", "video"),
        (None, "GS1.360", "video"),
        ("", "G.gpr", "photo"),
        (None, "G.xyz", "unknown"),
    ],
)
def test_media_type(kind, name, expected):
    assert gopro.map_item({"id": "m", "type": kind, "filename": name}).media_type == expected


@pytest.mark.parametrize(
    "document",
    [
        {"_pages": {"total_pages": 1}},
        {"_pages": {"total_pages": 1}, "_embedded": {}},
        {"_pages": {"total_pages": 1}, "_embedded": {"media": {}}},
        {"_embedded": {"media": [{"id": "m"}]}},
        {"_pages": {"total_pages": 0}, "_embedded": {"media": [{"id": "m"}]}},
        {"_pages": {"total_pages": "3"}, "_embedded": {"media": [{"id": "m"}]}},
        {"_pages": {"total_pages": True}, "_embedded": {"media": [{"id": "m"}]}},
        {"_pages": {}, "_embedded": {"media": []}},
        [1],
        "x",
    ],
)
def test_other_shapes_are_refused(document):
    with pytest.raises(errors.APIStructureError) as raised:
        page_of(document)
    assert len(raised.value.sample) <= 500


def test_not_json_is_refused_with_a_sample():
    with pytest.raises(errors.APIStructureError) as raised:
        gopro.parse_page(b"<html>" + b"x" * 2000, 1, 30)
    assert raised.value.sample.startswith("<html>") and len(raised.value.sample) == 500


def test_tolerated_variants():
    page = page_of({"_pages": {"total": 4, "page": 2}, "media": [{"id": "m", "filename": "GH1.MP4"}]}, page=2)
    assert len(page.items) == 1
    assert (page.pagination.total_pages, page.pagination.current_page) == (4, 2)


def test_beyond_the_end_the_pagination_is_never_empty():
    assert page_of({"_pages": {}, "_embedded": {"media": []}}, page=4).pagination.total_pages == 3
    assert (
        page_of(
            {"_pages": {"current_page": 4, "total_pages": 3}, "_embedded": {"media": []}}, page=4
        ).pagination.total_pages
        == 3
    )


def test_an_empty_library_is_no_structure_change():
    page = page_of({"_pages": {"current_page": 1, "total_items": 0, "total_pages": 0}, "_embedded": {"media": []}})
    assert (page.items, page.pagination.total_pages) == ([], 1)


def test_items_without_a_usable_id_are_malformed():
    media = [{"filename": "GH1.MP4"}, {"id": 7}, {"id": "a/b"}, "x", {"id": "good"}]
    page = page_of({"_pages": {"total_pages": 1}, "_embedded": {"media": media}})
    assert (page.malformed, page.total, [item.media_id for item in page.items]) == (4, 5, ["good"])


# --- download links


def links(files=(), variations=()):
    return json.dumps({"_embedded": {"files": list(files), "variations": list(variations)}}).encode()


def entry(label, available=True, url="https://cdn.example/x?Signature=s"):
    return {"label": label, "available": available, "url": url}


def test_renditions_in_their_order():
    assert (
        gopro.choose_rendition(
            links([entry("source", url="https://a/1")], [entry("source", url="https://a/2")]), "m", "source"
        )[0]
        == "https://a/1"
    )
    assert gopro.choose_rendition(links([], [entry("low"), entry("source", url="https://a/2")]), "m", "source") == (
        "https://a/2",
        "source",
    )
    proxy = entry("high_res_proxy_mp4", url="https://a/3")
    assert gopro.choose_rendition(links([], [entry("source", available=False), proxy]), "m", "source") == (
        "https://a/3",
        "high_res_proxy_mp4",
    )
    with pytest.raises(errors.QualityUnavailableError):
        gopro.choose_rendition(links([], [proxy]), "m", "edit_proxy")
    with pytest.raises(errors.QualityUnavailableError):
        gopro.choose_rendition(links([], [entry("source", available="yes")]), "m", "source")
    for broken in (b"{}", b"[]", links([entry("source", url="ftp://x")])):
        with pytest.raises(errors.APIStructureError):
            gopro.choose_rendition(broken, "m", "source")


# --- keys


@pytest.mark.parametrize(
    ("upload_date", "first_seen", "folder"),
    [
        ("2025-11-10T14:23:45Z", "2026-01-02T00:00:00Z", "2025/11"),
        ("2025-11-10T14:23:45.123+00:00", "", "2025/11"),
        ("2025-11-30T23:30:00-05:00", "", "2025/12"),
        ("2025-11-10", "", "2025/11"),
        ("", "2026-01-02T00:00:00.000Z", "2026/01"),
        ("yesterday", "2026-01-02T00:00:00.000Z", "2026/01"),
    ],
)
def test_f8_the_month_comes_from_the_item_never_from_today(upload_date, first_seen, folder):
    assert keys.archive_key("gopro", "GH1.MP4", upload_date, first_seen) == f"gopro-videos/{folder}/GH1.MP4"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("GH1.MP4", "GH1.MP4"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("a\\b\x00c\r\nd.MP4", "a_b_c__d.MP4"),
        ("..", "__"),
        ("Größe 東京.MP4", "Größe 東京.MP4"),
    ],
)
def test_names_cannot_leave_their_folder(name, safe):
    key = keys.archive_key("gopro", name, "2025-11-10", "")
    assert key == f"gopro-videos/2025/11/{safe}"
    assert "//" not in key and not key.startswith("/")


def test_long_names_keep_their_extension():
    key = keys.archive_key("gopro", "é" * 2000 + ".MP4", "2025-11-10", "")
    assert key.endswith(".MP4") and len(key.encode()) < 1000


def test_alternative_key():
    assert keys.alternative_key("p/2025/11/GH010042.MP4", "mX") == "p/2025/11/GH010042_mX.MP4"
    assert keys.alternative_key("p/2025/11/GOPRO", "mX") == "p/2025/11/GOPRO_mX"


# --- credentials


def test_cookies_are_cut_at_exact_names():
    header = "xgp_access_token=no; gp_access_token=eyJ=a==; gp_user_id=u-1; session=abc"
    assert cookie(header, "gp_access_token") == "eyJ=a=="
    assert cookie(header, "absent") is None
    assert Credentials(header, "ua", "").minimal() == "gp_access_token=eyJ=a==; gp_user_id=u-1"
    assert Credentials("gp_access_token=x", "ua", "").minimal() is None
    assert "eyJ" not in repr(Credentials(header, "ua", ""))


@pytest.mark.parametrize(
    ("last_updated", "age"),
    [
        ("2025-12-01T10:00:00Z", 5.0),
        ("2025-12-01T10:00:00", 5.0),
        ("", 0.0),
        ("soon", 0.0),
        ("2030-01-01T00:00:00Z", 0.0),
    ],
)
def test_cookie_age(last_updated, age):
    assert Credentials("c", "ua", last_updated).age_days(datetime(2025, 12, 6, 10, tzinfo=UTC)) == pytest.approx(age)


def test_copied_cookies():
    assert read_cookies("Cookie: gp_access_token=a;\n gp_user_id=b\n") == "gp_access_token=a; gp_user_id=b"
    with pytest.raises(errors.ValidationError, match="gp_access_token"):
        read_cookies("session=1")


# --- settings


def test_missing_variables_are_named_all_at_once():
    with pytest.raises(errors.ValidationError, match=r"S3_BUCKET, KMS_KEY_ID"):
        Settings.from_environment({}, required=("S3_BUCKET", "KMS_KEY_ID"))
    with pytest.raises(errors.ValidationError, match=r"(?s)CHUNK_SIZE.*PAGE_SIZE|PAGE_SIZE.*CHUNK_SIZE"):
        Settings.from_environment({"CHUNK_SIZE": "1000", "PAGE_SIZE": "many"})


def test_defaults_and_ceilings():
    settings = Settings.from_environment(
        {"PAGE_SIZE": "500", "INCLUDE_PREFIXES": "GH, GX", "PROVIDER_API_BASE": "http://x/"}
    )
    assert (settings.page_size, settings.include_prefixes, settings.api_base) == (100, ("GH", "GX"), "http://x")
    plain = Settings.from_environment({})
    assert (plain.page_size, plain.max_videos, plain.include_prefixes, plain.chunk_size) == (
        30,
        100,
        ("GH", "GO"),
        104857600,
    )
    assert (plain.strict_size, plain.topic, plain.table, plain.environment) == (False, "", "gopro-sync-tracker", "dev")


def test_unknown_environment():
    with pytest.raises(ValueError, match="unknown environment 'qa'"):
        environment_record("qa")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_f20_the_record_of_an_environment_is_what_is_deployed(name):
    from stepwell.project import load_project

    record, project = environment_record(name), load_project(PROJECT, name)
    machine = project.machines["gopro-sync-orchestrator"]
    assert machine.definition["TimeoutSeconds"] == record.step_functions_timeout_seconds
    concurrency = machine.definition["States"]["DownloadVideos"]["MaxConcurrency"]
    assert concurrency == record.step_functions_max_concurrency
    assert machine.logging.retention == record.log_retention_days * 86_400
    assert machine.tracing is record.enable_xray
    minimums = {"token-validator": (256, 30), "media-lister": (512, 300), "video-downloader": (1024, 900)}
    for function, (memory, timeout) in minimums.items():
        spec = project.functions[function]
        assert spec.memory_mb == max(record.lambda_memory_mb, memory)
        assert spec.timeout == min(timeout, record.lambda_timeout_seconds)
        assert spec.concurrency == record.lambda_reserved_concurrency
        assert spec.environment["ENVIRONMENT"] == name
    (lifecycle,) = project.buckets["archive"].lifecycle
    assert lifecycle.transitions == {
        "GLACIER_IR": record.glacier_ir_after_days * 86_400,
        "DEEP_ARCHIVE": record.deep_archive_after_days * 86_400,
    }
    assert lifecycle.abort_uploads == 86_400  # [F18]


def test_the_definition_and_toml_agree_on_names():
    declared = tomllib.loads((PROJECT / "stepwell.toml").read_text())
    assert declared["machines"]["gopro-sync-orchestrator"]["schedule"]["expression"] == "cron(0 1 * * ? *)"
    assert set(declared["functions"]) == {"token-validator", "media-lister", "video-downloader"}


# --- small things


@pytest.mark.parametrize(
    "event",
    [{}, {"media_id": "m"}, {"filename": "x"}, {"media_id": "", "filename": "x"}, {"media_id": "a/b", "filename": "x"},
     {"media_id": "m" * 256, "filename": "x"}, {"media_id": "m", "filename": ""}, {"media_id": "m", "filename": "x", "file_size": -1},
     {"media_id": "m", "filename": "x", "file_size": "big"}, None, [], "x"],
)  # fmt: skip
def test_unusable_download_events(event):
    with pytest.raises(errors.ValidationError):
        DownloadRequest.read(event)


def test_correlation_id():
    assert correlation({"correlation_id": "c", "Execution": {"Id": "e"}}) == "c"
    assert correlation({"Execution": {"Id": "e"}}) == "e"
    assert len({correlation({}), correlation(None), correlation({"correlation_id": ""})}) == 3


def test_f16_throughput_of_an_instant_transfer():
    assert throughput_mbps(1000, 0.0) == 0.0
    assert throughput_mbps(1_000_000, 2.0) == 4.0
    assert str(two_decimals(3.14159)) == "3.14"


def test_providers_by_name():
    assert provider.names() == ["gopro"]
    assert isinstance(provider.create("gopro", "http://x"), gopro.GoPro)
    with pytest.raises(ValueError, match="unknown provider 'dji'"):
        provider.create("dji", "http://x")


def test_retry_counts_all_calls_and_raises_the_last_error():
    calls = []

    def fails():
        calls.append(1)
        raise errors.StorageError(f"call {len(calls)}")

    with pytest.raises(errors.StorageError, match="call 3"):
        retry(fails, on=errors.StorageError, initial=0.001)
    with pytest.raises(errors.StorageError, match="call 4"):
        retry(fails, on=errors.NetworkError)


def test_error_names_are_those_of_the_definition():
    definition = json.loads((PROJECT / "machine.asl.json").read_text())
    text = json.dumps(definition)
    for error in (errors.NetworkError, errors.TimeoutError, errors.RateLimitError, errors.TokenExpiredError):
        assert f'"{error.__name__}"' in text or f"'{error.__name__}'" in text
    assert issubclass(errors.TokenExpiredError, errors.AuthenticationError)
    assert issubclass(errors.SizeMismatchError, errors.TransferError)
