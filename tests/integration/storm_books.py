"""What the clients of a storm saw, and whether the server's counters say the same."""

import collections

from storm_plan import LANES

MODELS = sorted({lane.model for lane in LANES})


class Books:
    """Counts by lane (model, method). Each message of a stream counts as a call."""

    def __init__(self):
        self.begun = collections.Counter()
        # Code by code, the calls whose end was the server's answer.
        self.answered = collections.defaultdict(collections.Counter)
        # The others: cancelled, disconnected or expired at their client.
        self.given_up = collections.Counter()
        # Results compared with those computed alone.
        self.compared = 0
        self.worst_difference = 0.0
        # What must not happen, in words.
        self.faults = []

    def codes(self):
        return sum(self.answered.values(), collections.Counter())

    def __str__(self):
        return (f"{self.begun.total()} calls: {dict(self.codes())}, {self.given_up.total()} given "
                f"up; {self.compared} results compared, worst difference "
                f"{self.worst_difference:.1e}; {len(self.faults)} faults")


def disagreements(before, after, books):
    """Where the growth of the server's counters contradicts the books, in words.

    REQUIRES: the server was at rest when each page was read, and had no other clients in between.
    """

    def grown(name, **labels):
        return after.value(name, **labels) - before.value(name, **labels)

    found = []
    for model in MODELS:
        refused = grown("contextpool_requests_total", model=model, code="RESOURCE_EXHAUSTED")
        reasons = grown("contextpool_rejected_total", model=model)
        if refused != reasons:
            found.append(f"{model}: refused {refused:.0f} calls, for a reason {reasons:.0f}")
    for lane in LANES:
        where = {"model": lane.model, "endpoint": lane.method}
        answered = {code: grown("contextpool_requests_total", code=code, **where)
                    for code in after.labels("contextpool_requests_total", "code")}
        received = grown("contextpool_requests_received_total", **where)
        found += [f"{lane.model} {lane.method}: received {received:.0f}, answered "
                  f"{_nonzero(answered)}, {problem}"
                  for problem in _problems(lane, received, answered, books)]
    return found


def _problems(lane, received, answered, books):
    seen, given_up = books.answered[lane.key], books.given_up[lane.key]
    if received != sum(answered.values()):
        yield "which differ"
    if not lane.gives_up:
        if _nonzero(answered) != dict(seen):
            yield f"but clients, of whom none gave up, saw {dict(seen)}"
        return
    if any(answered[code] < seen[code] for code in seen):
        yield f"but clients saw more: {dict(seen)}"
    if not 0 <= received - seen.total() <= given_up:
        yield f"but clients saw {dict(seen)} and gave up {given_up}"


def _nonzero(counts):
    return {key: round(count) for key, count in counts.items() if count}


def unrest(page):
    """What a server at rest would not show, in words."""
    gauges = [("contextpool_in_flight_requests", {})]
    gauges += [(name, {"model": model}) for model in MODELS
               for name in ("contextpool_queue_depth", "contextpool_queue_tokens",
                            "contextpool_queue_bytes")]
    found = [f"{name}{labels} is {page.value(name, **labels):.0f}" for name, labels in gauges
             if page.value(name, **labels) != 0]
    received = page.value("contextpool_requests_received_total")
    answered = page.value("contextpool_requests_total")
    if received != answered:
        found.append(f"{received:.0f} calls were received and {answered:.0f} answered")
    return found
