"""The collections of section 3 of the specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .fields import Field, Fields, array, check, date, group, json_, number, pair, rel, rels, rich, select, text

COUNTRIES = (
    "Tanzania", "Kenya", "Botswana", "Rwanda", "South Africa", "Zimbabwe", "Zambia", "Namibia", "Uganda", "Mozambique", "Unknown",
)  # fmt: skip
SEGMENTS = ("stay", "activity", "transfer")
MOODS = ("serene", "adventurous", "romantic", "dramatic", "intimate", "luxurious", "wild", "peaceful")
TIMES = ("dawn", "morning", "midday", "afternoon", "golden-hour", "dusk", "night")
SETTINGS = (
    "lodge-interior", "lodge-exterior", "pool-deck", "bedroom", "dining", "savanna", "river-water", "forest", "mountain", "bush-dinner",
    "game-drive", "walking-safari", "aerial", "spa",
)  # fmt: skip
COMPOSITIONS = ("hero", "establishing", "detail", "portrait", "action", "panoramic")
SUITED = ("hero-banner", "article-feature", "gallery", "thumbnail", "social", "print")
IMAGE_TYPES = ("wildlife", "landscape", "accommodation", "activity", "people", "food", "aerial", "detail")
STATUS = ("pending", "processing", "complete", "failed")


@dataclass(frozen=True)
class Collection:
    """`hidden_drafts`: a read without `draft=true` does not see documents that were never published."""

    fields: Fields
    drafts: bool = False
    hidden_drafts: bool = False
    upload: bool = False
    together: tuple[tuple[str, ...], ...] = ()
    """Fields that are unique together."""
    order: str = field(default="-createdAt")


def _drafted(**fields: Field) -> dict[str, Field]:
    return {**fields, "_status": select("draft", "published", default="draft")}


_BLOCKS: Mapping[str, Fields] = {
    "stay": {
        "accommodationName": text(required=True),
        **pair("accommodationName"),
        **pair("description", rich),
        **pair("inclusions", rich),
        "nights": number(least=1),
        "location": text(),
        "country": text(),
        "images": rels("media"),
        "imagesReviewed": check(),
        "roomType": text(),
        "property": rel("properties"),
        "reviewed": check(),
        "sourceSegmentIndex": number(),
    },
    "activity": {
        "title": text(required=True),
        **pair("title"),
        **pair("description", rich),
        "images": rels("media"),
        "imagesReviewed": check(),
        "reviewed": check(),
        "sourceSegmentIndex": number(),
    },
    "transfer": {
        "type": select("flight", "road", "boat", "helicopter", "entry", "exit", "point"),
        "title": text(),
        **pair("title"),
        "from": text(),
        "to": text(),
        **pair("description", rich),
        "departureTime": text(),
        "arrivalTime": text(),
        "reviewed": check(),
        "sourceSegmentIndex": number(),
    },
}

COLLECTIONS: Mapping[str, Collection] = {
    "users": Collection({"email": text(unique=True), "name": text()}),
    "itinerary-jobs": Collection(
        {
            "itrvlUrl": text(required=True),
            "itineraryId": text(),
            "accessKey": text(),
            "status": select("pending", "processing", "completed", "failed", default="pending"),
            "currentPhase": text(),
            "progress": number(least=0, most=100, default=0),
            "totalImages": number(),
            "processedImages": number(),
            "skippedImages": number(),
            "failedImages": number(),
            "totalVideos": number(),
            "videoProcessingError": text(),
            "imagesLabeled": number(default=0),
            "imagesToLabel": number(),
            "labelingStartedAt": date(),
            "labelingCompletedAt": date(),
            "errorMessage": text(),
            "errorPhase": text(),
            "failedAt": date(),
            "processedItinerary": rel("itineraries"),
            "payloadId": text(),
            "startedAt": date(),
            "completedAt": date(),
            "duration": number(),
            **{f"phase{number_}CompletedAt": date() for number_ in range(1, 6)},
            "version": number(default=1),
            "previousVersions": array(version=number(), completedAt=date(), status=text()),
            "timings": json_(),
            "progressLog": json_(),
            "estimatedTimeRemaining": number(),
            "notes": text(),
            "executionName": text(),
            "executionArn": text(),
            "cancelRequestedAt": date(),
            "heartbeatAt": date(),
        }
    ),
    "image-statuses": Collection(
        {
            "job": rel("itinerary-jobs", required=True),
            "sourceS3Key": text(required=True),
            "mediaId": text(),
            "status": select(*STATUS, "skipped", default="pending"),
            "mediaType": select("image", "video", default="image"),
            "videoContext": text(),
            "error": text(),
            "startedAt": date(),
            "completedAt": date(),
            "propertyName": text(),
            "segmentType": select(*SEGMENTS),
            "segmentTitle": text(),
            "dayIndex": number(),
            "segmentIndex": number(),
            "country": text(),
            "sourceItinerary": text(),
            "placements": array(
                segmentIndex=number(),
                segmentType=select(*SEGMENTS),
                segmentTitle=text(),
                dayIndex=number(),
                position=number(),
            ),
        },
        together=(("job", "sourceS3Key"),),
    ),
    "media": Collection(
        {
            "sourceS3Key": text(unique=True),
            "originalS3Key": text(),
            "imgixUrl": text(),
            "url": text(),
            "filename": text(unique=True),
            "mimeType": text(),
            "filesize": number(),
            "width": number(),
            "height": number(),
            "mediaType": select("image", "video", default="image"),
            "videoContext": select("hero", "background", "gallery"),
            "processingStatus": select(*STATUS, default="pending"),
            "processingError": text(),
            "labelingStatus": select(*STATUS, "skipped", default="pending"),
            "labeledAt": date(),
            "usedInItineraries": rels("itineraries"),
            "sourceItinerary": text(),
            "sourceProperty": text(),
            "sourceSegmentType": select(*SEGMENTS),
            "sourceSegmentTitle": text(),
            "sourceDayIndex": number(),
            "country": select(*COUNTRIES),
            "scene": text(),
            "mood": select(*MOODS, many=True),
            "timeOfDay": select(*TIMES),
            "setting": select(*SETTINGS, many=True),
            "composition": select(*COMPOSITIONS),
            "suitableFor": select(*SUITED, many=True),
            "animals": json_(),
            "tags": json_(),
            "alt": text(),
            "altText": text(),
            "quality": select("high", "medium", "low"),
            "imageType": select(*IMAGE_TYPES),
            "isHero": check(),
        },
        upload=True,
    ),
    "itineraries": Collection(
        _drafted(
            title=text(required=True),
            **pair("title"),
            slug=text(required=True, unique=True),
            itineraryId=text(required=True, unique=True),
            metaTitle=text(longest=60),
            **pair("metaTitle"),
            metaDescription=text(longest=160),
            **pair("metaDescription"),
            canonicalUrl=text(),
            answerCapsule=text(),
            focusKeyword=text(),
            lastModified=date(),
            heroImage=rel("media"),
            heroImageLocked=check(),
            heroImageReviewed=check(),
            heroVideo=rel("media"),
            heroVideoLocked=check(),
            heroVideoReviewed=check(),
            showHeroVideo=check(),
            destinations=rels("destinations"),
            tripTypes=rels("trip-types"),
            relatedItineraries=rels("itineraries"),
            overview=group(
                **pair("summary", rich),
                nights=number(least=1),
                countries=array(country=text()),
                highlights=array(highlight=text()),
            ),
            investmentLevel=group(
                fromPrice=number(),
                toPrice=number(),
                currency=text(),
                **pair("includes", rich),
                **pair("callout"),
            ),
            days=array(
                dayNumber=number(),
                date=date(),
                title=text(),
                **pair("title"),
                location=text(),
                segments=Field("blocks", blocks=_BLOCKS),
            ),
            faqItems=array(question=text(required=True), **pair("question"), **pair("answer", rich), reviewed=check()),
            **pair("whyUs", rich),
            images=rels("media"),
            videos=rels("media"),
            publishChecklist=group(
                **{
                    name: check()
                    for name in (
                        "allImagesProcessed",
                        "noFailedImages",
                        "heroImageSelected",
                        "contentEnhanced",
                        "schemaGenerated",
                        "schemaValid",
                        "metaFieldsFilled",
                        "tripTypesSelected",
                    )
                }
            ),
            publishBlockers=array(reason=text(), severity=select("error", "warning")),
            version=number(default=1),
            previousVersions=array(versionNumber=number(), scrapedAt=date(), data=json_()),
            schema=json_(),
            schemaStatus=select("pending", "pass", "warn", "fail", default="pending"),
            googleInspectionStatus=text(),
            source=group(itrvlUrl=text(), lastScrapedAt=date(), rawData=json_(), jobId=text(), executionName=text()),
            buildTimestamp=date(),
            videoScrapedFromSource=check(),
        ),
        drafts=True,
    ),
    "trip-types": Collection({"name": text(required=True)}),
    "destinations": Collection(
        _drafted(
            name=text(required=True),
            slug=text(required=True, unique=True),
            type=select("country", "destination", required=True),
            country=rel("destinations"),
            description=text(required=True),
        ),
        drafts=True,
        hidden_drafts=True,
    ),
    "properties": Collection(
        _drafted(
            name=text(required=True),
            slug=text(required=True, unique=True),
            type=select("lodge", "camp", "hotel", "villa", "mobile_camp", "tented_camp", required=True),
            destination=rel("destinations", required=True),
            description_itrvl=text(),
            relatedItineraries=rels("itineraries"),
            externalIds=group(itrvlSupplierCode=text(), itrvlPropertyName=text(), wetuId=text()),
            canonicalContent=group(
                source=select("scraper", "wetu", "manual"),
                coordinates=group(latitude=number(), longitude=number()),
                contactEmail=text(),
                contactPhone=text(),
                website=text(),
            ),
            accumulatedData=group(
                observationCount=number(default=0),
                lastObservedAt=date(),
                typicalNights=group(median=number(), min=number(), max=number()),
                pricePositioning=group(
                    band=text(),
                    avgPerNightUsd=number(),
                    observations=array(
                        itineraryId=text(), pricePerNight=number(), priceTier=text(), observedAt=date(), nights=number()
                    ),
                    observationCount=number(default=0),
                ),
                commonPairings=array(property=rel("properties"), position=select("before", "after"), count=number()),
                seasonalityData=array(month=number(least=1, most=12), observationCount=number()),
                guestNotes=text(),
            ),
        ),
        drafts=True,
        hidden_drafts=True,
    ),
    "airports": Collection(
        {
            "name": text(required=True),
            "slug": text(required=True, unique=True),
            "iataCode": text(),
            "type": select("international", "domestic", "airstrip"),
            "city": text(),
            "country": rel("destinations", required=True),
            "nearestDestination": rel("destinations"),
            "services": group(
                hasInternationalFlights=check(), hasDomesticScheduledFlights=check(), charterOnly=check()
            ),
            "observationCount": number(default=0),
            "observedInItineraries": rels("itineraries"),
        }
    ),
    "transfer-routes": Collection(
        {
            "from": text(required=True),
            "to": text(required=True),
            "slug": text(required=True, unique=True),
            "mode": select("flight", "road", "boat", "helicopter", "charter"),
            **{
                f"{end}{kind}": rel(target)
                for end in ("from", "to")
                for kind, target in (
                    ("Property", "properties"),
                    ("Airport", "airports"),
                    ("Destination", "destinations"),
                )
            },
            "airlines": array(name=text(), go7Airline=check(), duffelAirline=check()),
            "observations": array(
                itineraryId=text(), departureTime=text(), arrivalTime=text(), airline=text(), dateObserved=date()
            ),
            "observationCount": number(default=0),
        }
    ),
    "activities": Collection(
        {
            "name": text(required=True),
            "slug": text(required=True, unique=True),
            "type": text(),
            "destinations": rels("destinations"),
            "properties": rels("properties"),
            "bookingBehaviour": group(
                availability=select("always_included", "scheduled", "on_demand"),
                requiresAdvanceBooking=check(),
                typicalLeadTimeDays=number(),
                maxGroupSize=number(),
                isIncludedInTariff=check(),
                typicalAdditionalCost=text(),
            ),
            "observationCount": number(default=0),
            "observedInItineraries": rels("itineraries"),
        }
    ),
    "service-items": Collection(
        {
            "name": text(required=True),
            "slug": text(required=True, unique=True),
            "category": select("airport_service", "park_fee", "accommodation_supplement", "departure_tax", "other"),
            "serviceDirection": select("arrival", "departure", "both", "na"),
            "serviceLevel": select("standard", "premium", "ultra_premium"),
            "isInclusionIndicator": check(),
            "observationCount": number(default=0),
            "observedInItineraries": rels("itineraries"),
        }
    ),
    "itinerary-patterns": Collection(
        {
            "sourceItinerary": rel("itineraries", unique=True),
            "extractedAt": date(),
            "countries": rels("destinations"),
            "regions": rels("destinations"),
            "totalNights": number(),
            "paxType": select("family", "solo", "couple", "group", "unknown"),
            "adults": number(),
            "children": number(),
            "propertySequence": array(property=rel("properties"), nights=number(), order=number(), roomType=text()),
            "transferSequence": array(route=rel("transfer-routes"), afterProperty=number(), mode=text()),
            "serviceItems": rels("service-items"),
            "priceTotal": number(),
            "currency": text(),
            "pricePerNightAvg": number(),
            "priceTier": text(),
            "travelMonth": number(),
            "travelYear": number(),
        }
    ),
    "notifications": Collection(
        {
            "type": select("success", "error", "warning", "info", required=True),
            "message": text(required=True),
            "job": rel("itinerary-jobs"),
            "itinerary": rel("itineraries"),
            "read": check(),
            "readAt": date(),
        }
    ),
}
