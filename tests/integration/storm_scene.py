"""Where storms happen: three models, a server that may reload them, and its state of rest."""

import shutil
import time

import grpc

from harness import MINILM, ROOT, Server
from storm_books import unrest


def write_repository(folder):
    """minilm, sentiment and bytes, the names that lanes use."""
    (folder / "minilm").symlink_to(MINILM.resolve())
    for name, source in (("sentiment", "sentiment-contextpool"),
                         ("bytes", "sentiment-bytes-contextpool")):
        shutil.copytree(ROOT / "models" / source, folder / name)
    # So little room that some calls find none.
    (folder / "sentiment/serving.textproto").write_text("queue { max_inputs: 160 }\n")


def start_server(folder, repository, *flags):
    return Server(folder, [repository], "--enable_admin", *flags)


async def reload_model(server, name):
    """The model as it serves then, or what gRPC raises."""
    from contextpool.v1 import admin_pb2, admin_pb2_grpc
    request = admin_pb2.ReloadModelRequest()
    request.model.name = name
    async with grpc.aio.insecure_channel(server.address) as channel:
        reply = await admin_pb2_grpc.AdminServiceStub(channel).ReloadModel(request, timeout=60)
    return reply.model


def page_at_rest(server, seconds=10):
    """The metrics once nothing is under way any more, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while unrest(page := server.metrics()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return page
