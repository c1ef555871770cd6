"""The simulated camera cloud keeps the documented contract, or the tests that stand on it prove nothing."""

import subprocess
import time

import httpx
import imageio_ffmpeg
import pytest
from mediacloud import ACCEPT, BLOCK, BytesContent, Clip, FileContent, Media, MediaCloud, SyntheticContent, photo, video


@pytest.fixture
def cloud():
    with MediaCloud() as running:
        yield running


def api(cloud, path, *, cookies=None, accept=ACCEPT + "; version=2.0.0"):
    headers = {"Cookie": cloud.session.cookies if cookies is None else cookies, "Accept": accept}
    return httpx.get(cloud.url + path, headers=headers)


def fill(cloud, count):
    cloud.add(*(Media(f"m{n}", f"GH{n:06}.MP4", BytesContent(b"x" * n)) for n in range(count)))


def test_pages_of_the_library(cloud):
    fill(cloud, 64)
    pages = [api(cloud, f"/media/search?page={n}&per_page=30").json() for n in (1, 2, 3, 4)]
    assert [len(page["_embedded"]["media"]) for page in pages] == [30, 30, 4, 0]
    assert [page["_pages"]["current_page"] for page in pages] == [1, 2, 3, 4]
    assert {page["_pages"]["total_pages"] for page in pages} == {3}
    assert {page["_pages"]["total_items"] for page in pages} == {64}


def test_refuses_more_than_a_hundred_a_page(cloud):
    assert api(cloud, "/media/search?page=1&per_page=101").status_code == 400


def test_requires_the_vendor_media_type(cloud):
    assert api(cloud, "/media/search?per_page=1", accept="application/json").status_code == 406


def test_session_by_two_cookies_or_all(cloud):
    minimal = f"gp_access_token={cloud.session.token}; gp_user_id={cloud.session.user_id}"
    assert api(cloud, "/media/search?per_page=1", cookies=minimal).status_code == 200
    cloud.session.minimal = False
    assert api(cloud, "/media/search?per_page=1", cookies=minimal).status_code == 401
    assert api(cloud, "/media/search?per_page=1").status_code == 200
    cloud.session.refusal = 403
    assert api(cloud, "/media/search?per_page=1").status_code == 403


def test_links_name_originals_and_proxies(cloud):
    cloud.add(Media("m1", "GH1.MP4", BytesContent(b"abc"), proxies={"edit_proxy": BytesContent(b"a")}))
    body = api(cloud, "/media/m1/download").json()
    assert [entry["item_number"] for entry in body["_embedded"]["files"]] == [1]
    variations = {entry["label"]: entry["url"] for entry in body["_embedded"]["variations"]}
    assert {label: httpx.get(url).content for label, url in variations.items()} == {
        "source": b"abc",
        "edit_proxy": b"a",
    }
    assert api(cloud, "/media/nobody/download").status_code == 404


def test_signatures_expire_and_cannot_be_forged():
    with MediaCloud(url_lifetime=-1) as cloud:
        fill(cloud, 2)
        assert httpx.get(cloud.sign("/cdn/m1/source")).status_code == 403
        cloud.url_lifetime = 60
        good = cloud.sign("/cdn/m1/source")
        assert httpx.get(good).status_code == 200
        assert httpx.get(good.replace("/m1/", "/m0/")).status_code == 403
        cloud.removed.add("m1")
        assert httpx.get(good).status_code == 404


def test_ranges(cloud):
    cloud.add(Media("m1", "GH1.MP4", BytesContent(bytes(range(100)))))
    url = cloud.sign("/cdn/m1/source")
    whole = httpx.get(url)
    assert whole.headers["content-length"] == "100" and whole.headers["etag"]
    middle = httpx.get(url, headers={"Range": "bytes=10-19"})
    assert (middle.status_code, middle.headers["content-range"], middle.content) == (
        206,
        "bytes 10-19/100",
        bytes(range(10, 20)),
    )
    assert httpx.get(url, headers={"Range": "bytes=90-"}).content == bytes(range(90, 100))
    assert httpx.get(url, headers={"Range": "bytes=-5"}).content == bytes(range(95, 100))
    assert httpx.get(url, headers={"Range": "bytes=100-"}).status_code == 416


def test_scripted_failures_happen_as_often_as_said(cloud):
    fill(cloud, 1)
    cloud.fail("search", status=429, headers={"Retry-After": "7"}, times=2)
    answers = [api(cloud, "/media/search?per_page=1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert [request.status for request in cloud.requests("search")] == [429, 429, 200]


@pytest.mark.parametrize(
    ("fault", "error", "bytes_before"),
    [
        ({"truncate_after": 3 * BLOCK}, httpx.RemoteProtocolError, 3 * BLOCK),
        ({"truncate_after": 3 * BLOCK, "chunked": True}, httpx.RemoteProtocolError, 3 * BLOCK),
        ({"reset_after": 3 * BLOCK}, httpx.ReadError, 3 * BLOCK),
    ],
)
def test_bodies_that_break(cloud, fault, error, bytes_before):
    cloud.add(Media("m1", "GH1.MP4", SyntheticContent(8 * BLOCK)))
    cloud.fail("cdn", **fault)
    received = 0
    with pytest.raises(error), httpx.stream("GET", cloud.sign("/cdn/m1/source")) as response:
        for piece in response.iter_raw():
            received += len(piece)
    assert received == bytes_before


def test_slow_fragments(cloud):
    cloud.add(Media("m1", "GH1.MP4", SyntheticContent(4 * BLOCK)))
    cloud.fail("cdn", fragment=BLOCK, pause=0.05)
    began = time.monotonic()
    assert len(httpx.get(cloud.sign("/cdn/m1/source")).content) == 4 * BLOCK
    assert time.monotonic() - began >= 0.15


def test_synthetic_content_shows_every_misplaced_piece():
    content = SyntheticContent(3 * BLOCK + 10, seed=4)
    whole = b"".join(content.read(0, content.size))
    assert len(whole) == content.size
    assert [whole[n * BLOCK : n * BLOCK + 8] for n in range(4)] == [n.to_bytes(8, "big") for n in range(4)]
    assert b"".join(content.read(BLOCK - 3, BLOCK + 9)) == whole[BLOCK - 3 : BLOCK + 9]
    assert whole[:BLOCK] == content.block(0)


def test_media_are_real(tmp_path):
    film = video(Clip(3, seconds=1), tmp_path)
    assert film == video(Clip(3, seconds=1), tmp_path), "made once"
    assert FileContent(film).size == film.stat().st_size > 1000
    probed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", film, "-f", "null", "-"], capture_output=True, text=True
    )
    assert probed.returncode == 0
    assert "Video: h264" in probed.stderr and "640x360" in probed.stderr and "Audio: aac" in probed.stderr
    assert photo(Clip(3), tmp_path).read_bytes()[:3] == b"\xff\xd8\xff"
