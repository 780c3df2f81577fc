"""Reads every event of a server into the models that datamodel-code-generator generates."""

import json
import os
import urllib.request

from models import Event, EventList


def fetch(path: str) -> bytes:
    request = urllib.request.Request(os.environ["SERVER"] + path)
    request.add_header("Authorization", "Bearer " + os.environ["KEY"])
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def main() -> None:
    page = fetch("/v1/events?limit=100")
    types = {event["type"] for event in json.loads(page)["data"]}
    events = EventList.model_validate_json(page).data
    assert events and all(isinstance(event, Event) for event in events)
    for wanted in ["payment.captured", "account.opened", "api_key.created", "app.order.shipped", "payment.failed"]:
        assert wanted in types, types
    print("read", len(events))


main()
