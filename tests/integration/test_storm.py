"""Everything at once, against the real server: nothing may be lost, invented, wrong or left behind.

Two equal storms with a reload in the middle of each, then one that SIGTERM ends. To repeat the
plans of a run give its seed, which a failure shows: CONTEXTPOOL_STORM_SEED=N. A longer run:
CONTEXTPOOL_STORM_SECONDS=60.
"""

import asyncio
import dataclasses
import os
import signal
import time

import pytest

from storm import Storm
from storm_books import disagreements, unrest
from storm_plan import Bank
from storm_scene import page_at_rest, reload_model, start_server, write_repository

SEED = int(os.environ.get("CONTEXTPOOL_STORM_SEED", time.time_ns() % 1_000_000))
SECONDS = float(os.environ.get("CONTEXTPOOL_STORM_SECONDS", 8))


@dataclasses.dataclass
class Weather:
    """What happened. Pages of metrics: at rest before, between and after the two storms."""

    pages: list
    storms: list
    reloaded: list
    last: Storm
    exit_code: int
    log: str


async def reload_in_the_middle(server, reloaded):
    await asyncio.sleep(SECONDS / 2)
    reloaded.append(await reload_model(server, "minilm"))


async def end_in_the_middle(server, storm):
    await asyncio.sleep(SECONDS / 4)
    storm.server_ends = True
    server.process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def weather(stubs, tmp_path_factory):
    print(f"CONTEXTPOOL_STORM_SEED={SEED}")
    folder = tmp_path_factory.mktemp("storm")
    write_repository(folder)
    server = start_server(tmp_path_factory.mktemp("server"), folder, "--drain_grace=500ms")
    try:
        client = server.client()
        bank = Bank(client, SEED)
        client.close()
        pages, storms, reloaded = [page_at_rest(server)], [], []
        for _ in range(2):
            storms.append(Storm(server.grpc_port, bank, SEED))
            asyncio.run(storms[-1].run(SECONDS, reload_in_the_middle(server, reloaded)))
            pages.append(page_at_rest(server))
            print(storms[-1].books)
        last = Storm(server.grpc_port, bank, SEED + 1)
        asyncio.run(last.run(SECONDS / 2, end_in_the_middle(server, last)))
        print(last.books)
        yield Weather(pages, storms, reloaded, last, server.process.wait(60), server.log())
    finally:
        server.stop()


def test_every_call_gets_one_answer_which_is_right(weather):
    for storm in weather.storms:
        assert storm.books.faults == []
        assert storm.books.compared > 500


def test_the_server_counts_what_its_clients_saw(weather):
    for before, after, storm in zip(weather.pages, weather.pages[1:], weather.storms):
        assert disagreements(before, after, storm.books) == []
    assert weather.pages[-1].value("contextpool_requests_total", code="INTERNAL") == 0


def test_the_storm_was_one(weather):
    """Else the other tests would show little."""
    before, after = weather.pages[0], weather.pages[-1]
    for storm in weather.storms:
        books = storm.books
        assert books.given_up.total() > 0.2 * books.begun.total()
        assert {"OK", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"} <= set(books.codes())
    for reason in ("cancelled", "deadline"):
        name = "contextpool_dropped_total"
        assert after.value(name, reason=reason) > before.value(name, reason=reason), reason
    assert after.value("contextpool_coalesced_inputs_total") > 0
    assert len(weather.reloaded) == 2


def test_nothing_is_left_behind(weather):
    for page in weather.pages:
        assert unrest(page) == []
    _, first, second = weather.pages
    memory, files = "process_resident_memory_bytes", "process_open_fds"
    assert second.value(memory) <= 1.1 * first.value(memory)
    assert second.value(files) <= first.value(files)


def test_the_end_in_a_storm_loses_nothing(weather):
    assert weather.exit_code == 0, weather.log
    assert weather.last.books.faults == []
    assert weather.last.books.codes()["UNAVAILABLE"] > 0
