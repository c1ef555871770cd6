"""FX-1 from end to end (statements 4 to 10, 17, 18, 22, 24, 31, 32, 35), on one world: what is imported once is looked at often."""

from __future__ import annotations

import copy
import io
import re
import socket

import pytest
from PIL import Image
from scraper.transform.richtext import plain
from travelsim import FX1_ID, FX1_KEYS, FX1_URL, fx1, journey, photo

from scraper import keys

from .world import DOMAIN, World, url_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("import") / "data") as made:
        made.portal.add(fx1())
        yield made


@pytest.fixture(scope="module")
def first(world):
    return world.run(FX1_URL)


def test_04_price(first):
    itinerary = first.itinerary
    assert itinerary["investmentLevel"]["fromPrice"] == 18450
    assert itinerary["investmentLevel"]["currency"] == "USD"
    scraped = first.world.portal.itineraries[FX1_ID]
    answer = first.world.http.post("/scraper", json={"itrvlUrl": FX1_URL, "secret": "scraper-secret-1"}).json()
    assert answer["data"]["price"] == 1_845_000
    assert scraped.pricing[0]["finance"]["sellingPrice"] == 18450
    (pattern,) = first.world.payload.documents("itinerary-patterns")
    assert (pattern["priceTier"], pattern["pricePerNightAvg"], pattern["paxType"]) == ("premium", 2306, "couple")


def test_05_days(first):
    days = first.itinerary["days"]
    assert [day["dayNumber"] for day in days] == [1, 3, 4, 6, 9]
    assert [day["title"] for day in days] == [
        "Coffee Hill Lodge",
        "Plains Tented Camp",
        "Serengeti - Balloon safari at dawn",
        "Coral Bay Villas",
        "Zanzibar Airport",
    ]
    assert first.blocks()[0]["title"] == "Kilimanjaro Intl Airport (JRO)"


def test_06_fields(first):
    itinerary = first.itinerary
    assert itinerary["slug"] == "northern-circuit-coast"
    assert itinerary["overview"]["nights"] == 8
    assert len(itinerary["overview"]["highlights"]) == 3
    assert len(itinerary["faqItems"]) == 7
    assert plain(itinerary["investmentLevel"]["includesItrvl"]) == (
        "8 nights at Coffee Hill Lodge, Plains Tented Camp, Coral Bay Villas. "
        "all meals, premium beverages, laundry service, daily game drives, park fees."
    )
    assert itinerary["title"] == itinerary["titleItrvl"] == "Northern Circuit & Coast"
    assert itinerary["_status"] == "draft"


def test_07_rows(first):
    rows = first.world.rows(first.job_id)
    assert sorted(row["sourceS3Key"] for row in rows) == sorted(FX1_KEYS)
    shared = next(row for row in rows if row["sourceS3Key"] == "7f20aa/2.jpg")
    assert sorted(place["dayIndex"] for place in shared["placements"]) == [3, 4]
    assert (shared["segmentType"], shared["segmentTitle"], shared["dayIndex"]) == ("stay", "Plains Tented Camp", 3)
    (film,) = first.world.rows(first.job_id, "video")
    assert film["sourceItinerary"] == str(first.itinerary["id"])
    assert (first.job["totalImages"], first.job["totalVideos"]) == (6, 1)


def test_08_links(first):
    cms = first.world.payload
    properties = cms.documents("properties")
    assert [(found["name"], found["type"], found["_status"]) for found in properties] == [
        ("Coffee Hill Lodge", "lodge", "draft"),
        ("Plains Tented Camp", "tented_camp", "draft"),
        ("Coral Bay Villas", "villa", "draft"),
    ]
    assert properties[0]["externalIds"]["itrvlSupplierCode"] == "CHL01"
    assert properties[0]["canonicalContent"]["coordinates"] == {"latitude": -3.4, "longitude": 36.7}
    assert properties[0]["description_itrvl"] == "A farm house among coffee rows."
    assert all(found["relatedItineraries"] == [first.itinerary["id"]] for found in properties)
    tanzania = first.world.tanzania
    created = {found["name"]: found for found in cms.documents("destinations", type="destination")}
    assert {"Arusha", "Serengeti", "Zanzibar", "Kilimanjaro"} <= set(created)
    assert all(found["country"] == tanzania for found in created.values())
    airports = cms.documents("airports")
    assert [(found["iataCode"], found["type"]) for found in airports] == [("JRO", "domestic"), ("ZNZ", "domestic")]
    road, flight = cms.documents("transfer-routes")
    assert (road["fromAirport"], road["toProperty"]) == (airports[0]["id"], properties[0]["id"])
    assert flight["toDestination"] == created["Serengeti"]["id"]
    assert [found["name"] for found in flight["airlines"]] == ["Example Air"]
    (pattern,) = cms.documents("itinerary-patterns")
    sequence = [(step["route"], step["afterProperty"]) for step in pattern["transferSequence"]]
    assert sequence == [(road["id"], 0), (flight["id"], 1)]
    assert [stay["property"] for stay in pattern["propertySequence"]] == [found["id"] for found in properties]
    (activity,) = cms.documents("activities")
    assert (activity["type"], activity["bookingBehaviour"]["maxGroupSize"]) == ("balloon_flight", 16)
    assert activity["properties"] == [properties[1]["id"]]
    (service,) = cms.documents("service-items")
    found = (service["category"], service["serviceDirection"], service["serviceLevel"])
    assert found == ("airport_service", "arrival", "premium")
    stays = [block for block in first.blocks() if block["blockType"] == "stay"]
    assert [stay["property"] for stay in stays] == [found["id"] for found in properties]


def test_17_copies_of_photos(world, first):
    large = photo(99, 5000, 4000)
    trip = journey("large", 2, size=(300, 200))
    trip.photos["large/000.jpg"] = large
    trip.content["itineraries"][0]["segments"][0]["images"] = ["large/000.jpg"]
    trip.content["itineraries"][0]["segments"][1]["images"] = []
    trip.content["itineraries"][0]["segments"][2]["images"] = ["large/small.jpg"]
    trip.photos["large/small.jpg"] = photo(98, 300, 200)
    seen = len(world.model.images)
    run = world.import_(trip)
    cms_id = run.itinerary["id"]
    assert world.bucket.get(f"media/originals/{cms_id}/large_000.jpg") == large
    copy_of = world.image("media/large_000.jpg")
    assert copy_of.width <= 2400 and copy_of.height <= 1600 and copy_of.height >= 1590
    assert world.bucket.get("media/large_small.jpg") == trip.photos["large/small.jpg"], (
        "no enlargement, no new encoding"
    )
    sent = world.model.images[seen:]
    assert sorted((image.width, image.height) for image in sent) == [(300, 200), (1000, 800)]
    assert {image.mime for image in sent} == {"image/jpeg"}
    head = world.bucket.head(f"media/originals/{cms_id}/large_000.jpg")
    assert (head.content_type, head.cache_control) == ("image/jpeg", "public, max-age=31536000, immutable")


def test_18_keys_do_not_collide(world, first):
    a, b = photo(1, 40, 30, "png"), photo(2, 40, 30, "png")
    trip = journey("twins", 0)
    trip.content["itineraries"][0]["segments"][0]["images"] = ["a/2.png", "b/2.png"]
    trip.photos = {"a/2.png": a, "b/2.png": b}
    run = world.import_(trip)
    cms_id = run.itinerary["id"]
    assert world.bucket.get(f"media/originals/{cms_id}/a_2.png") == a
    assert world.bucket.get(f"media/originals/{cms_id}/b_2.png") == b
    (media,) = world.payload.documents("media", sourceS3Key="a/2.png")
    assert media["imgixUrl"] == f"https://{DOMAIN}/media/originals/{cms_id}/a_2.png?auto=format%2Ccompress&q=80"
    assert keys.imgix_url("d", "k.jpg", q="60", w="5") == "https://d/k.jpg?auto=format%2Ccompress&q=60&w=5"
    assert sorted(image.mime for image in world.model.images[-2:]) == ["image/jpeg", "image/jpeg"]


def test_22_structured_data(first):
    itinerary = first.itinerary
    assert [found["@type"] for found in itinerary["schema"]] == ["Product", "FAQPage", "BreadcrumbList"]
    assert itinerary["schemaStatus"] == "pass"
    assert itinerary["publishBlockers"] == []
    product = itinerary["schema"][0]
    assert product["offers"]["price"] == 18450
    assert product["url"] == "https://www.example.test/safaris/northern-circuit-coast"
    hero = first.world.payload.document("media", itinerary["heroImage"])
    assert product["image"][0] == hero["imgixUrl"]
    assert len(product["image"]) == 6 and not any(url.endswith(".mp4") for url in product["image"])
    assert first.output["finalResult"]["status"] == "ready_for_review"
    bare = first.world.import_(journey("bare", 0))
    assert bare.job["status"] == "completed"
    assert bare.itinerary["schemaStatus"] == "fail"
    assert "error" in [blocker["severity"] for blocker in bare.itinerary["publishBlockers"]]
    assert bare.output["finalResult"]["status"] == "needs_attention"


def test_24_photos_at_their_segments(first):
    ids = {media["sourceS3Key"]: media["id"] for media in first.world.photos()}
    shown = {block.get("accommodationName") or block["title"]: block.get("images") for block in first.blocks()}
    assert shown["Coffee Hill Lodge"] == [ids["0b6c1d/1.jpg"], ids["0b6c1d/2.jpg"]]
    assert shown["Plains Tented Camp"] == [ids["7f20aa/1.jpg"], ids["7f20aa/2.jpg"]]
    assert shown["Balloon safari at dawn"] == [ids["7f20aa/2.jpg"], ids["91be3c/1.png"]]
    assert shown["Coral Bay Villas"] == [ids["c4d9e1/1.jpg"]]
    assert "Zanzibar Airport (ZNZ)" in shown
    before = [block["property"] for block in first.blocks() if block["blockType"] == "stay"]
    document = first.itinerary
    for day in document["days"]:  # an editor's change: by name where the number is gone
        for block in day["segments"]:
            block["sourceSegmentIndex"] = None
    first.world.payload.change("itineraries", document["id"], days=document["days"])
    event = {"jobId": first.job_id, "itineraryId": document["id"]}
    from scraper.finalizing import finalize

    assert finalize(first.world.cms, first.world.settings, event)["success"]
    again = {block.get("accommodationName") or block["title"]: block.get("images") for block in first.blocks()}
    assert again == shown
    assert [block["property"] for block in first.blocks() if block["blockType"] == "stay"] == before


def test_film_is_playable_and_its_own(first):
    import av

    world = first.world
    itinerary = first.itinerary
    (media,) = world.payload.documents("media", mediaType="video", sourceItinerary=str(itinerary["id"]))
    assert itinerary["videos"] == [media["id"]] and itinerary["heroVideo"] == media["id"]
    assert media["imgixUrl"] == f"https://{DOMAIN}/{media['originalS3Key']}"
    with av.open(io.BytesIO(world.bucket.get(media["originalS3Key"]))) as film:
        assert {stream.codec_context.name for stream in film.streams} == {"h264", "aac"}
        assert sum(1 for _ in film.decode(video=0)) == 24
    assert media["filename"].endswith(".mp4") and media["id"] not in itinerary["images"]


def test_35_everything_is_on_loopback(first):
    """The run above used simulators only: every address its functions got is this machine's."""
    world = first.world
    for name, value in world.environment().items():
        for host in re.findall(r"https?://([^/:]+)", value):
            assert host == "127.0.0.1" or name == "SITE_URL", name
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    assert first.status == "SUCCEEDED"
    for key in [key for key in world.objects() if key.startswith("media/originals/1/") and "videos" not in key]:
        assert Image.open(io.BytesIO(world.bucket.get(key))).format in ("JPEG", "PNG")


def test_09_imported_twice(first):
    world = first.world
    before = {
        name: world.payload.documents(name)
        for name in ("media", "activities", "airports", "transfer-routes", "properties")
    }
    slug, names = first.itinerary["slug"], ("observationCount",)
    run = world.run(FX1_URL)
    itinerary = run.itinerary
    assert itinerary["id"] == first.itinerary["id"] and itinerary["slug"] == slug
    assert len(world.payload.documents("itineraries", itineraryId=FX1_ID)) == 1
    assert itinerary["version"] == 2 and len(itinerary["previousVersions"]) == 1
    assert itinerary["previousVersions"][0]["data"] == {"title": "Northern Circuit & Coast", "nights": 8, "dayCount": 5}
    assert {row["status"] for row in world.rows(run.job_id)} == {"skipped"}
    assert (run.job["processedImages"], run.job["skippedImages"], run.job["failedImages"]) == (0, 6, 0)
    assert len(world.payload.documents("media")) == len(before["media"])
    for collection in ("activities", "airports", "transfer-routes"):
        counts = [[found[name] for name in names] for found in world.payload.documents(collection)]
        assert counts == [[found[name] for name in names] for found in before[collection]]
    seen = [found["accumulatedData"]["observationCount"] for found in world.payload.documents("properties")]
    assert seen == [found["accumulatedData"]["observationCount"] for found in before["properties"]]
    (film,) = world.rows(run.job_id, "video")
    assert film["status"] == "skipped" and itinerary["heroVideo"] is not None


def test_10_edits_survive(first):
    world = first.world
    document = first.itinerary
    edited = {"root": {"children": [{"children": [{"text": "Better words."}]}]}}
    overview = {**document["overview"], "summaryEnhanced": edited, "summaryReviewed": True}
    days = copy.deepcopy(document["days"])
    days[1]["segments"][1]["descriptionReviewed"] = True
    days[0]["titleEnhanced"] = "Arrival"
    locked = document["images"][-1]
    world.payload.change(
        "itineraries", document["id"], overview=overview, days=days, heroImage=locked, heroImageLocked=True,
        investmentLevel={**document["investmentLevel"], "toPrice": 21000},
    )  # fmt: skip
    run = world.run(FX1_URL)
    again = run.itinerary
    assert again["overview"]["summaryEnhanced"] == edited and again["overview"]["summaryReviewed"] is True
    assert again["days"][1]["segments"][1]["descriptionReviewed"] is True
    assert again["days"][0]["titleEnhanced"] == "Arrival"
    assert again["heroImage"] == locked and again["investmentLevel"]["toPrice"] == 21000
    assert [day["id"] for day in again["days"]] == [day["id"] for day in document["days"]]
    world.portal.itineraries[FX1_ID].content["itineraries"][0]["summary"] = "A new text."
    changed = world.run(FX1_URL).itinerary
    assert changed["overview"]["summaryEnhanced"] == edited and changed["overview"]["summaryReviewed"] is False
    assert changed["heroImage"] == locked


def test_31_retry(first):
    world = first.world
    earlier = world.job(first.job_id)
    old = {row["id"] for row in world.rows(first.job_id)}
    answer = world.post(f"/api/job-control/{first.job_id}", action="retry")
    assert answer["success"]
    run = world.wait(first.job_id)
    assert re.fullmatch(rf"job-{first.job_id}-retry-\d{{13}}", run.job["executionName"])
    assert run.job["version"] == earlier["version"] + 1 and run.job["status"] == "completed"
    (history,) = run.job["previousVersions"]
    assert (history["version"], history["status"]) == (earlier["version"], "completed")
    rows = world.rows(first.job_id)
    assert len(rows) == 6 and not old & {row["id"] for row in rows}
    assert run.job["progress"] == 100 and run.job["skippedImages"] == 6


def test_32_other_itinerary(world, first):
    before = world.payload.documents("itineraries")
    world.portal.add(fx1(), "65aaaaaaaaaaaaaaaaaaaaaa")
    run = world.run(url_of("65aaaaaaaaaaaaaaaaaaaaaa"))
    assert run.job["status"] == "failed" and "ItineraryIdMismatch" not in run.job["errorMessage"][:5]
    assert "not 65aaaaaaaaaaaaaaaaaaaaaa" in run.job["errorMessage"]
    assert run.states[-2:] == ["MarkJobFailed", "PipelineFailed"] and len(run.failures()) == 1, "not retried"
    assert world.payload.documents("itineraries") == before
