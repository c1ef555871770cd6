"""Similarity search over the final snapshot: vectors come from a real model, so that neighbours make sense."""

import numpy as np
from embeddings.entities import ENTITIES
from embeddings.search import nearest, nearest_to_texts
from openai_api import embed
from receiptbook import Line, Receipt, image_id, shop_receipt

GROUPS = {
    "dairy": ["WHOLE MILK", "SKIMMED MILK", "BUTTER AND CHEESE", "GREEK YOGURT CREAM"],
    "tools": ["CLAW HAMMER", "SCREWDRIVER SET", "DRILL BITS", "WRENCH AND PLIERS"],
    "cafe": ["ESPRESSO COFFEE", "ICED COFFEE LATTE", "CAPPUCCINO COFFEE", "GREEN TEA"],
}


async def test_neighbours_are_sensible(pipeline, tmp_path):
    kinds = {}
    for number, (kind, texts) in enumerate(GROUPS.items()):
        for index, text in enumerate(texts):
            receipt = Receipt(image_id(100 * number + index), 1, [Line(text, 0.1, 0.5)])
            kinds[f"{receipt.index}#LINE#00001"] = kind
            pipeline.seed(receipt)
    await pipeline.submit("line")
    await pipeline.ingest("line")
    services, lines = pipeline.services, ENTITIES["line"]
    published = pipeline.published(tmp_path, "line")
    assert published.keys() == kinds.keys()
    answers = nearest(services, lines, [vector for vector, _, _ in published.values()], 3)
    same = 0
    for one, answer in zip(published, answers, strict=True):
        assert answer[0].id == one and answer[0].distance < 1e-5, "the nearest to a record is the record"
        same += sum(kinds[found.id] == kinds[one] for found in answer[1:])
    assert same >= 0.75 * 2 * len(published), f"{same} of {2 * len(published)} neighbours are of the same kind"
    questions = {"hot coffee": "cafe", "a hammer": "tools", "fresh milk": "dairy"}
    answers = nearest_to_texts(services, lines, list(questions), 1)
    assert [kinds[answer[0].id] for answer in answers] == list(questions.values())


async def test_published_vectors_are_the_providers(pipeline, api, tmp_path):
    pipeline.seed(*(shop_receipt(number) for number in range(3)))
    for entity in ("line", "word"):
        await pipeline.submit(entity)
        await pipeline.ingest(entity)
    asked = pipeline.expected_vectors()
    found = pipeline.published(tmp_path, "line") | pipeline.published(tmp_path, "word")
    assert found.keys() == asked.keys()
    wanted = embed([str(asked[one]) for one in found], 256)
    np.testing.assert_allclose(np.array([vector for vector, _, _ in found.values()]), wanted, atol=1e-6)
    assert all(abs(np.linalg.norm(vector) - 1) < 1e-5 for vector in wanted)
    assert pipeline.states("line") == {"SUCCESS": len(pipeline.items("line"))}
    row = next(metadata for _, _, metadata in found.values() if metadata["text"].startswith("TOTAL"))
    assert row["row_line_ids"].startswith("[") and row["merchant_name"].istitle() and row["format_version"] == "rows-v2"
    word = next(m for _, _, m in found.values() if m.get("valid_labels_array") == ["PRODUCT_NAME"] and "word_id" in m)
    assert word["label_status"] == "validated" and word["label_validated_at"] == "2030-01-04T18:00:00+00:00"
    assert all(value not in (None, []) for _, _, metadata in found.values() for value in metadata.values())
