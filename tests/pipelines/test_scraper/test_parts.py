"""The parts alone (statements 1, 10, 19, 21, 23, 33 and the machine's definition): milliseconds, injected clocks."""

from __future__ import annotations

import copy
import io
import json
from datetime import date
from pathlib import Path

import httpx
import pytest
from PIL import Image
from scraper.cms import Cms, query
from scraper.errors import CmsError, LabelError, PortalUrlError
from scraper.failing import reason
from scraper.jsonld import structured_data
from scraper.linking import classes
from scraper.portal import Capture, FilePortal, PortalUrl, image_keys
from scraper.settings import Settings
from scraper.transform.itinerary import Facts, Relations, Wording, transform
from scraper.transform.photos import photo_rows
from scraper.transform.richtext import rich
from scraper.validator import validate
from scraper.vision import Vision, checked
from travelsim import FX1_CONTENT, FX1_ID, FX1_PRICING, FX1_URL, PayloadCms, VisionModel, photo
from travelsim.payloadcms import KEY
from travelsim.visionmodel import KEY as MODEL_KEY
from travelsim.visionmodel import look

from scraper import hero, images, keys, scraping, vision

from . import PROJECT

HOSTS = ("itrvl.com",)
TODAY = date(2026, 6, 1)


# -- 1: URLs


def test_01_parser():
    page = PortalUrl.parse(FX1_URL, HOSTS)
    assert (page.access_key, page.itinerary_id) == ("access-fx1", FX1_ID)
    assert PortalUrl.parse("https://itrvl.com/x?accessKey=k&itineraryId=i", HOSTS).itinerary_id == "i"
    assert PortalUrl.parse("https://itrvl.com/a//client/portal/k/i/more", HOSTS).itinerary_id == "i"
    for wrong in (
        "https://itrvl.com/client/portal/only", "https://itrvl.com/client/x/k/i", "http://itrvl.com/client/portal/k/i", "",
        None, "https://evil.test/client/portal/k/i", "https://itrvl.com.evil.test/portal/k/i", "https://u@itrvl.com/portal/k/i",
        "https://itrvl.com:8443/portal/k/i", "https://itrvl.com/portal/k/i%2F..",
    ):  # fmt: skip
        with pytest.raises(PortalUrlError):
            PortalUrl.parse(wrong, HOSTS)


# -- price, images, files


@pytest.mark.parametrize(
    ("amount", "unit", "cents", "warned"),
    [
        (18450, "auto", 1_845_000, False),
        ("18450.50", "auto", 1_845_050, False),
        (99_999.99, "auto", 9_999_999, False),
        (100_000, "auto", 100_000, True),
        (250_000, "major", 25_000_000, False),
        (250_000, "minor", 250_000, False),
        (None, "auto", 0, False),
        ("on request", "auto", 0, False),
        (-5, "auto", 0, False),
        (float("inf"), "major", 0, False),
    ],
)
def test_04_price_rules(amount, unit, cents, warned):
    price, warnings = scraping.price_of([{"itineraryId": "x", "finance": {"sellingPrice": amount}}], "x", unit)
    assert (price, bool(warnings)) == (cents, warned)
    assert scraping.price_of([{"id": "other", "finance": {"sellingPrice": 1}}], "x", unit) == (0, [])


def test_image_keys_in_order_without_branding():
    content = {
        "agency": {"images": ["no.png"]},
        "headerImage": "head.jpg",
        "itineraries": [
            {"images": ["a.jpg", {"s3Key": "b.jpg", "more": {"images": ["c.jpg"]}}], "x": {"s3Key": "a.jpg"}, "agency": {"s3Key": "no"}}
        ],
    }  # fmt: skip
    assert image_keys(content) == ["head.jpg", "a.jpg", "b.jpg", "c.jpg"]


def test_scraper_tries_three_times_and_says_what_it_saw(tmp_path):
    waits, settles = [], []

    class Never:
        def capture(self, page, settle):
            settles.append(settle)
            return FilePortal(tmp_path).capture(page)

    (tmp_path / "pricing.json").write_text(json.dumps(FX1_PRICING))
    page = PortalUrl.parse(FX1_URL, HOSTS)
    with pytest.raises(Exception, match="content data"):
        scraping.scrape(page, Settings(portal_hosts=HOSTS), Never(), waits.append)
    assert (waits, settles) == ([6.0, 12.0], [5.0, 10.0, 10.0])
    settings = Settings(portal_hosts=HOSTS, scraper_secret="s", pause=0)
    status, body = scraping.answer(json.dumps({"itrvlUrl": FX1_URL, "secret": "s"}).encode(), settings, Never())
    assert status == 500 and body["capturedResponses"] == 1 and body["apiEndpoints"] == ["/api/Itineraries"]
    assert scraping.answer(b'{"secret": ""}', Settings())[0] == 401, "no secret on the server admits nobody"
    (tmp_path / "content.json").write_text(json.dumps(FX1_CONTENT))
    assert isinstance(FilePortal(tmp_path).capture(page), Capture)


# -- transform


def facts(**changes):
    itinerary = {**copy.deepcopy(FX1_CONTENT["itineraries"][0]), **changes}
    return Facts.of(itinerary, 1_845_000)


def test_transform_of_odd_segments():
    segments = [
        {"type": "STAY", "supplierName": "  Only Supplier ", "nights": 2, "inclusions": "wi-fi"},
        {"type": "helicopter", "title": "Scenic transfer to Camp One, by air", "startDate": "2026-06-15"},
        {"type": "exit", "title": "Home", "transitPointCode": "XXX", "startDate": "2026-06-16T23:30:00-02:00"},
        {"type": "mystery", "title": "dropped"},
        {"type": "road", "description": "x" * 500, "startDate": "2026-06-01"},
    ]
    document = transform(
        facts(segments=segments, nights=None), FX1_URL, "2026-01-01T00:00:00.000Z", Wording(), Relations()
    )
    assert document["overview"]["nights"] == 2
    numbers = [day["dayNumber"] for day in document["days"]]
    assert numbers == [1, 2, 4]
    blocks = [block for day in document["days"] for block in day["segments"]]
    assert [block["sourceSegmentIndex"] for block in blocks] == [0, 4, 1, 2]
    assert blocks[0]["accommodationName"] == "Only Supplier"
    assert len(blocks[1]["title"]) == 120
    assert (blocks[2]["type"], blocks[2]["to"]) == ("helicopter", "Camp One")
    assert (blocks[3]["title"], blocks[3]["to"]) == ("Home (XXX)", "XXX")
    assert document["metaTitle"].startswith("Northern Circuit & Coast | 2-Night")
    assert len(document["metaDescription"]) <= 160


def test_photos_fall_back_to_the_flat_list():
    found = facts(segments=[{"type": "stay", "title": "Bare"}])
    rows = photo_rows(found, ["a.jpg", "b.jpg", "a.jpg"])
    assert [(row["sourceS3Key"], row["country"], row["segmentIndex"]) for row in rows] == [
        ("a.jpg", "Tanzania", None),
        ("b.jpg", "Tanzania", None),
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Mara Tented Camp", "tented_camp"), ("Serengeti Mobile Camp North", "mobile_camp"), ("River Camp", "camp"),
        ("Campfire Lodge", "lodge"), ("Giraffe Manor", "hotel"), ("Private Island", "villa"), ("Somewhere", "lodge"),
    ],
)  # fmt: skip
def test_property_types(name, kind):
    assert classes.property_type(name) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Gorilla trekking", "gorilla_trek"), ("Spacious tent", "other"), ("Spa treatment", "spa"), ("Individual guide", "other"),
        ("Scuba diving", "diving"), ("Dinner in the bush", "bush_dinner"), ("Boat cruise", "boat_safari"), ("Visa help", "other"),
        ("Morning game drive", "game_drive"), ("Village walk", "community_visit"), ("Bush walk", "walking_safari"),
    ],
)  # fmt: skip
def test_activity_classes(name, kind):
    assert classes.activity_type(name) == kind


def test_services_prices_and_pax():
    assert classes.service("VIP Lounge at departure")["serviceLevel"] == "ultra_premium"
    assert classes.service("Park fees")["category"] == "park_fee"
    assert classes.service("Single room supplement")["category"] == "accommodation_supplement"
    assert classes.service("Airport tax")["serviceDirection"] == "departure"
    assert [classes.price_tier(n) for n in (3000, 1500, 800, 799, 0, None)] == [
        "ultra_premium", "premium", "mid_luxury", "accessible_luxury", None, None,
    ]  # fmt: skip
    assert [classes.pax_type(*n) for n in ((2, 1), (1, 0), (2, 0), (5, 0), (3, 0))] == [
        "family",
        "solo",
        "couple",
        "group",
        "unknown",
    ]


# -- 19: the model


def labels(**changes):
    found = {**look(Image.new("RGB", (600, 400), (200, 180, 120)), ""), **changes}
    return json.dumps({name: value for name, value in found.items() if value is not ...})


def test_19_answers_are_checked():
    assert checked(labels(mood=["wild", "grumpy", 3, "wild"]))["mood"] == ["wild"]
    assert len(checked(labels(tags=[str(n) for n in range(20)]))["tags"]) == 12
    assert len(checked(labels(setting=["spa", "forest", "aerial", "dining"]))["setting"]) == 3
    for wrong in (
        labels(timeOfDay="teatime"),
        labels(scene=...),
        labels(tags="a"),
        labels(quality=3),
        labels(scene=" "),
        "[]",
        "",
        "{",
    ):
        with pytest.raises(LabelError):
            checked(wrong)


@pytest.fixture
def model():
    with VisionModel() as running:
        yield running


def eye(model, waits):
    settings = Settings(model_url=model.base_url, model_key=MODEL_KEY)
    return Vision(settings, sleep=waits.append)


JPEG = images.Copy(photo(1, 120, 80), "image/jpeg", False)


def test_19_retries(model):
    waits: list[float] = []
    see = eye(model, waits)
    model.fail("POST", status=429, headers={"Retry-After": "7"}, body={"error": {"message": "slow down"}})
    model.fail("POST", status=429, body={"error": {"message": "slow down"}})
    model.fail("POST", status=502)
    assert see.label(JPEG, {"propertyName": "River Camp", "country": "Kenya"})["quality"]
    assert waits == [7.0, 6.0, 9.0]
    for status in (400, 401, 402, 403):
        waits.clear()
        model.fail("POST", status=status, body={"error": {"message": "no"}})
        with pytest.raises(LabelError, match=str(status)):
            see.label(JPEG, {})
        assert waits == []
    seen = len(model.requests)
    model.fail("POST", status=500, times=5)
    with pytest.raises(LabelError):
        see.label(JPEG, {})
    assert len(model.requests) - seen == 5 and waits == [3.0, 6.0, 9.0, 12.0]


def test_19_cut_answers_get_more_room(model):
    see = eye(model, [])
    for first in ("", '{"scene": "a lion in'):
        model.script(first)
        assert see.label(JPEG, {"propertyName": "River Camp"})["scene"]
        assert [request.json["max_tokens"] for request in model.requests[-2:]] == [800, 1600]
    request = model.requests[-1]
    assert request.headers["authorization"] == f"Bearer {MODEL_KEY}" and request.headers["x-title"]
    assert "Property: River Camp" in model.images[-1].text and "Country" not in model.images[-1].text
    form = request.json["response_format"]["json_schema"]
    assert form["name"] == "image_enrichment" and form["strict"] is True and len(form["schema"]["required"]) == 11
    assert set(form["schema"]["required"]) == set(vision.KEYS)


def test_17_copies():
    png = photo(3, 1000, 700, "png")
    assert images.web_copy(png, "image/png") == images.Copy(png, "image/png", False)
    made = images.model_copy(png, "application/octet-stream")
    assert made.mime == "image/jpeg" and Image.open(io.BytesIO(made.data)).size == (1000, 700)
    assert images.model_copy(b"no image", "image/x").data == b"no image"
    wide = images.web_copy(photo(4, 3000, 300), "image/jpeg")
    assert Image.open(io.BytesIO(wide.data)).size == (2400, 240)


def test_18_names():
    assert keys.original_key(7, "a/2.png") != keys.original_key(7, "b/2.png")
    assert keys.photo_url("https://cdn.test", "a b/ü.jpg") == "https://cdn.test/a%20b/%C3%BC.jpg"
    assert keys.film_key(7, "he/ro", 5) == "media/originals/7/videos/he_ro_video_7_5.mp4"
    assert keys.resolved_key("../../etc/passwd", 5) == "media/resolved/5-passwd"


# -- 21: heroes


def shot(id, **fields):
    return {"id": id, "mediaType": "image", "isHero": False, "quality": "medium", "imageType": "detail", **fields}


@pytest.mark.parametrize(
    ("media", "chosen"),
    [
        ([shot(1), shot(2, isHero=True, quality="high")], 2),
        ([shot(1, quality="high", imageType="wildlife"), shot(2, isHero=True)], 2),
        ([shot(1, quality="high", imageType="landscape"), shot(2, quality="high", imageType="wildlife")], 2),
        ([shot(1, quality="high"), shot(2, quality="high", imageType="landscape")], 2),
        ([shot(1, imageType="wildlife"), shot(2, quality="high")], 2),
        ([shot(1, imageType="landscape"), shot(2, imageType="wildlife")], 2),
        ([shot(1), shot(2, imageType="landscape")], 2),
        ([shot(1), shot(2)], 1),
        ([shot(1, mediaType="video", isHero=True, quality="high"), shot(2)], 2),
        ([shot(1, mediaType="video"), shot(2, mimeType="video/mp4")], None),
        ([], None),
    ],
)
def test_21_hero_image(media, chosen):
    assert hero.hero_image(media) == chosen


def test_21_hero_video():
    def film(id, source, context=None):
        return {"id": id, "mediaType": "video", "sourceItinerary": source, "videoContext": context}

    assert hero.hero_video([film(1, "7"), film(2, "7", "hero"), film(3, "8", "hero")], 7) == 2
    assert hero.hero_video([film(1, "7")], 7) == 1
    assert hero.hero_video([film(3, "8", "hero"), film(4, None, "hero"), shot(5, sourceItinerary="7")], 7) is None


# -- 22, 23: structured data

SETTINGS = Settings(site_url="https://www.example.test", brand="Example", listing_path="/safaris")


def page(**changes):
    items = [
        {"questionItrvl": "What is included?", "answerItrvl": rich("Everything.")},
        {"questionItrvl": "Where is it?", "answerItrvl": rich("In Unknown.")},
        {"questionItrvl": "Empty?", "answerItrvl": rich("  ")},
        {
            "questionItrvl": "Old?",
            "questionEnhanced": "New?",
            "answerItrvl": rich("Old."),
            "answerEnhanced": rich("New."),
        },
    ]
    document = {
        "title": " T ",
        "slug": "t",
        "overview": {"nights": 8, "countries": []},
        "investmentLevel": {"fromPrice": 5},
        "faqItems": items,
    }
    media = [{"id": n, "mediaType": "image", "imgixUrl": f"https://cdn.test/{n}.jpg"} for n in range(12)]
    return structured_data(
        {**document, **changes},
        [*media, {"id": 99, "mediaType": "video", "url": "https://x/v"}],
        media[11],
        SETTINGS,
        TODAY,
    )


def test_23_questions_without_an_answer_are_left_out():
    product, questions, crumbs = page()
    asked = [(entry["name"], entry["acceptedAnswer"]["text"]) for entry in questions["mainEntity"]]
    assert asked == [("What is included?", "Everything."), ("New?", "New.")]
    assert [found["@type"] for found in page(faqItems=[])] == ["Product", "BreadcrumbList"]
    assert product["image"][0] == "https://cdn.test/11.jpg" and len(product["image"]) == 11
    assert product["offers"]["priceValidUntil"] == "2027-06-01"
    assert [step["position"] for step in crumbs["itemListElement"]] == [1, 2, 3]
    assert validate(page(), TODAY).status == "pass"


def broken(index, **changes):
    found = page()
    found[index] = {name: value for name, value in {**found[index], **changes}.items() if value is not ...}
    return found


def offered(**changes):
    offers = {name: value for name, value in {**page()[0]["offers"], **changes}.items() if value is not ...}
    return broken(0, offers=offers)


def asked(**changes):
    entry = page()[1]["mainEntity"][0]
    return broken(1, mainEntity=[{name: value for name, value in {**entry, **changes}.items() if value is not ...}])


def stepped(**changes):
    entry = page()[2]["itemListElement"][0]
    return broken(
        2, itemListElement=[{name: value for name, value in {**entry, **changes}.items() if value is not ...}]
    )


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        ({}, "fail", "no array"),
        ([], "fail", "empty"),
        ([*page(), "text"], "fail", "[3] is no object"),
        (broken(0, **{"@context": "http://schema.org"}), "fail", "[0] @context"),
        (page()[1:], "fail", "no Product"),
        ([*page(), {"@context": "https://schema.org", "@type": "Cat"}], "warn", "[3] @type 'Cat'"),
        (page()[:2], "warn", "no BreadcrumbList"),
        (broken(0, name=...), "fail", "name is missing"),
        (broken(0, name=3), "fail", "name is missing"),
        (broken(0, image=...), "fail", "image is missing"),
        (broken(0, image=[]), "fail", "image is missing"),
        (broken(0, image=["/x.jpg"]), "fail", "no http(s) URL"),
        (offered(**{"@type": "Deal"}), "fail", "type Offer"),
        (broken(0, url="safaris/t"), "fail", "url is no"),
        (broken(0, name=" T"), "warn", "spaces"),
        (broken(0, name="x" * 151), "warn", "150"),
        (broken(0, image=["https://a/1", "https://a/1"]), "warn", "twice"),
        (broken(0, offers=...), "warn", "no offers"),
        (offered(price=None), "warn", "price is no number"),
        (offered(priceCurrency=...), "warn", "priceCurrency"),
        (offered(availability=...), "warn", "availability"),
        (offered(priceValidUntil="soon"), "warn", "no date"),
        (offered(priceValidUntil="2026-05-31"), "warn", "past"),
        (broken(0, description=...), "warn", "description is missing"),
        (broken(0, description="x" * 5001), "warn", "5000"),
        (broken(0, brand={"@type": "Brand"}), "warn", "brand"),
        (broken(1, mainEntity={}), "fail", "mainEntity is no array"),
        (broken(1, mainEntity=[]), "warn", "no questions"),
        (asked(**{"@type": "Answer"}), "fail", "no Question"),
        (asked(name=...), "fail", "has no question"),
        (asked(acceptedAnswer={"@type": "Answer"}), "fail", "has no answer"),
        (asked(name="Unknown?"), "warn", "unknown"),
        (broken(2, itemListElement={}), "fail", "no array"),
        (broken(2, itemListElement=[]), "warn", "empty"),
        (stepped(**{"@type": "Item"}), "fail", "no ListItem"),
        (stepped(position="1"), "fail", "no number"),
        (stepped(name=""), "fail", "has no name"),
        (stepped(item="safaris"), "fail", "no valid URL"),
    ],
)
def test_23_validator(found, status, says):
    findings = validate(found, TODAY)
    assert findings.status == status
    assert any(says in message for message in [*findings.errors, *findings.warnings]), findings


# -- 33: the CMS client


@pytest.fixture
def payload():
    with PayloadCms() as running:
        yield running


def client(payload, waits):
    return Cms(payload.url, KEY, sleep=waits.append)


def test_33_retries(payload):
    waits: list[float] = []
    cms = client(payload, waits)
    payload.fail("GET", status=503, times=2)
    assert cms.list("media") == [] and waits == [2.0, 4.0]
    payload.fail("GET", status=503, times=3)
    with pytest.raises(CmsError) as error:
        cms.list("media")
    assert error.value.status == 503
    waits.clear()
    with pytest.raises(CmsError) as error:
        cms.create("destinations", {"name": "x", "slug": "x", "type": "planet"})
    assert error.value.status == 400 and waits == [] and "invalid" in error.value.body
    payload.fail("GET", cut=True)
    assert cms.list("media") == [] and waits == [2.0]


def test_33_brackets_pages_and_groups(payload):
    assert query([("job", "equals", 4)]) == [("where[job][equals]", "4")]
    assert query([("a", "exists", True), ("b", "in", [1, 2])]) == [
        ("where[and][0][a][exists]", "true"),
        ("where[and][1][b][in]", "1,2"),
    ]
    job = payload.add("itinerary-jobs", itrvlUrl="https://itrvl.com/client/portal/a/b")
    for number in range(1203):
        payload.add("image-statuses", job=job, sourceS3Key=f"k{number}")
    cms = client(payload, [])
    found = cms.list("image-statuses", ("job", "equals", job))
    assert len({row["id"] for row in found}) == 1203
    before = len(payload.requests)
    assert len(cms.list_in("image-statuses", "id", range(1, 251))) == 250
    assert len(payload.requests) - before == 3
    assert all(request.query.get("depth") == "0" for request in payload.requests)


# -- settings, failures, the machine


def test_settings_are_trimmed_and_checked():
    settings = Settings.from_environment({"STEP_FUNCTION_ARN": "arn:x\n", "PAYLOAD_API_URL": "https://cms.test/ "})
    assert (settings.machine_arn, settings.payload_url) == ("arn:x", "https://cms.test")
    with pytest.raises(Exception, match="PAYLOAD_API_KEY"):
        Cms.of(settings)
    for wrong in ({"CHUNK_SIZE": "many"}, {"CHUNK_SIZE": "0"}, {"SELLING_PRICE_UNIT": "euro"}):
        with pytest.raises(Exception, match="must be"):
            Settings.from_environment(wrong)
    assert "secret-1" not in repr(Settings(payload_key="secret-1", scraper_secret="secret-1"))


def test_reasons_of_failures():
    cause = json.dumps({"errorMessage": "no photo", "errorType": "PhotoError"})
    assert reason({"chunkIndex": 0, "error": {"Error": "PhotoError", "Cause": cause}}) == (
        "PhotoError: no photo",
        "image-processor",
    )
    message, phase = reason({"videoResult": {}, "error": {"Error": "States.Timeout", "Cause": ""}})
    assert "LabelBatch" in message and phase == "labeler"
    assert reason({"videoError": {}, "labelResult": {"remaining": 0}, "error": {"Error": "X", "Cause": "y"}}) == (
        "X: y",
        "finalizer",
    )
    assert reason({})[1] == "orchestrator"


def test_machine_definition():
    machine = json.loads(Path(PROJECT, "machine.asl.json").read_text())
    states = machine["States"]
    for name, state in states.items():
        if state["Type"] != "Task":
            continue
        assert state["TimeoutSeconds"] and state["Catch"][0]["ErrorEquals"] == ["States.ALL"], name
        if name != "MarkJobFailed":
            assert state["Retry"][0]["MaxAttempts"] == 0 and "JobCancelled" in state["Retry"][0]["ErrorEquals"]
    retries = {
        name: [
            (r["MaxAttempts"], r["IntervalSeconds"], r["BackoffRate"])
            for r in state["Retry"]
            if r["ErrorEquals"] == ["States.TaskFailed"]
        ]
        for name, state in states.items()
        if "Retry" in state
    }
    assert retries == {
        "Orchestrate": [(1, 10, 2)], "ProcessImageChunk": [(2, 5, 2)], "ProcessVideos": [(2, 10, 2)], "LabelBatch": [(2, 5, 2)],
        "Finalize": [(1, 10, 2)], "MarkJobFailed": [(2, 5, 2)],
    }  # fmt: skip
    timeouts = {name: state["TimeoutSeconds"] for name, state in states.items() if state["Type"] == "Task"}
    assert timeouts == {
        "Orchestrate": 900, "ProcessImageChunk": 900, "ProcessVideos": 900, "LabelBatch": 600, "Finalize": 120, "MarkJobFailed": 30,
    }  # fmt: skip

    def loops(name, path, waited):
        """Every way back to a state passes a Wait."""
        state = states[name]
        if name in path:
            assert waited & set(path[path.index(name) :]), f"a loop without a Wait: {path}"
            return
        following = [state[key] for key in ("Next", "Default") if key in state]
        following += [choice["Next"] for choice in state.get("Choices", [])]
        for after in following:
            assert after in states
            loops(after, [*path, name], waited | ({name} if state["Type"] == "Wait" else set()))

    loops(machine["StartAt"], [], set())


def test_httpx_is_injectable():
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"docs": [], "hasNextPage": False}))
    assert Cms("http://cms.test", "k", transport=transport).list("media") == []
