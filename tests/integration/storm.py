"""Many clients at once that ask, change their mind, vanish and let calls expire.

Each client is a coroutine with a connection and a random generator of its own, so that a seed gives
it the same plans again. bench/soak.py drives the same storm for longer.
"""

import asyncio
import random

import grpc

from harness import Code, inputs
from storm_books import Books
from storm_plan import make_plan

TOLERANCE = 1e-5
# What grpc.aio makes of a write after the end of its call, whatever ended that.
WRITTEN_TOO_LATE = "Internal error from Core"
# The server's refusal, and gRPC's words for nobody being there and for a call that came while the
# server shut down, before any handler saw it. A connection that breaks under a call is something
# else: the call may have been accepted.
NEVER_ACCEPTED = ("the server is draining", "failed to connect", "CANCELLED")


class Storm:
    """Storms against one server, as often as one likes; the books go on."""

    def __init__(self, port, bank, seed, clients=200):
        self.port = port
        self.bank = bank
        self.books = Books()
        # Set once the server was told to end: clients then leave at the first UNAVAILABLE.
        self.server_ends = False
        self._seed = seed
        self._clients = clients

    async def run(self, seconds, meanwhile, patience_s=60):
        """Until every client has its last answer and `meanwhile`, an awaitable, is done."""
        until = asyncio.get_running_loop().time() + seconds
        clients = [_Client(self, random.Random(f"{self._seed}/{number}"))
                   for number in range(self._clients)]
        tasks = [asyncio.create_task(client.run(until)) for client in clients]
        beside = asyncio.ensure_future(meanwhile)
        await asyncio.wait(tasks, timeout=seconds + patience_s)
        for client, task in zip(clients, tasks):
            if not task.done():
                self.books.faults.append(f"never answered: {client.plan}")
                task.cancel()
        await asyncio.gather(*tasks)
        await beside


class _Client:
    def __init__(self, storm, rng):
        self.plan = None
        self._storm = storm
        self._books = storm.books
        self._rng = rng
        self._left = False
        self._ended = False
        self._connect()

    def _connect(self):
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"localhost:{self._storm.port}", options)

    async def run(self, until):
        while asyncio.get_running_loop().time() < until and not self._ended:
            self.plan = make_plan(self._rng)
            await self._carry_out(self.plan)
        await self._channel.close()

    async def _carry_out(self, plan):
        self._books.begun[plan.lane.key] += len(plan.requests)
        self._left = False
        call = self._method(plan.lane)(
            *([] if plan.lane.streams else [self._request(plan, 0)]), timeout=plan.timeout_s)
        leaving = asyncio.create_task(self._leave(call, plan))
        answered = await (self._stream if plan.lane.streams else self._unary)(call, plan)
        if not self._left:
            leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        self._books.given_up[plan.lane.key] += len(plan.requests) - answered

    def _method(self, lane):
        from contextpool.v1 import classification_pb2_grpc, embedding_pb2_grpc
        service = (embedding_pb2_grpc.EmbeddingServiceStub if lane.task == "Embed"
                   else classification_pb2_grpc.ClassificationServiceStub)(self._channel)
        return getattr(service, lane.method)

    def _request(self, plan, number):
        from contextpool.v1 import classification_pb2, embedding_pb2, types_pb2
        request = (embedding_pb2.EmbedRequest() if plan.lane.task == "Embed"
                   else classification_pb2.ClassifyRequest())
        request.model.name = plan.lane.model
        request.inputs.extend(inputs(self._storm.bank.texts[i] for i in plan.requests[number]))
        if plan.bulk:
            request.priority = types_pb2.PRIORITY_BULK
        return request

    async def _leave(self, call, plan):
        """The client's change of mind, if it plans one."""
        if plan.leaves_after_s is None:
            return
        await asyncio.sleep(plan.leaves_after_s)
        self._left = True
        if plan.disconnects:
            channel = self._channel
            self._connect()
            await channel.close()
        else:
            call.cancel()

    async def _unary(self, call, plan):
        """How many requests were answered: 1, or 0 where the client gave up."""
        try:
            self._judge_response(plan, 0, await call)
        except grpc.RpcError as error:
            if self._gave_up(plan, error.code()):
                return 0
            self._judge_error(plan, 0, error.code().name, error.details())
            await self._back_off()
        except asyncio.CancelledError:
            return 0
        return 1

    async def _stream(self, call, plan):
        """How many requests were answered, which the client need not have waited for."""
        sending = asyncio.create_task(self._send(call, plan))
        answered = 0
        try:
            while (reply := await call.read()) is not grpc.aio.EOF:
                self._judge_reply(plan, answered, reply)
                answered += 1
                if plan.reads_slowly:
                    await asyncio.sleep(0.02)
            if answered != len(plan.requests):
                self._fault(plan, f"{answered} replies came for {len(plan.requests)} requests")
        except grpc.RpcError as error:
            self._judge_stream_end(plan, answered, error)
        except asyncio.CancelledError:
            pass
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return answered

    async def _send(self, call, plan):
        for number in range(len(plan.requests)):
            await call.write(self._request(plan, number))
        await call.done_writing()

    def _judge_stream_end(self, plan, answered, error):
        code = error.code()
        if code == Code.INTERNAL and error.details() == WRITTEN_TOO_LATE:
            code = Code.DEADLINE_EXCEEDED if plan.timeout_s is not None else Code.UNAVAILABLE
        never_accepted = answered == 0 and error.details() in NEVER_ACCEPTED
        if self._storm.server_ends and (code == Code.UNAVAILABLE or never_accepted):
            self._ended = True
        elif not self._gave_up(plan, code):
            self._fault(plan, f"ended with {code}: {error.details()}")

    def _gave_up(self, plan, code):
        """Whether it was not the server that ended the call."""
        expired = code == Code.DEADLINE_EXCEEDED and plan.timeout_s is not None
        return expired or (self._left and code in (Code.CANCELLED, Code.UNAVAILABLE))

    def _judge_reply(self, plan, number, reply):
        if number >= len(plan.requests):
            self._fault(plan, "more replies than requests")
        elif reply.WhichOneof("reply") == "response":
            self._judge_response(plan, number, reply.response)
        else:
            code = next(code for code in Code if code.value[0] == reply.error.code)
            self._judge_error(plan, number, code.name, reply.error.message)

    def _judge_response(self, plan, number, response):
        self._books.answered[plan.lane.key]["OK"] += 1
        texts = plan.requests[number]
        if not texts or len(response.results) != len(texts):
            self._fault(plan, f"{len(response.results)} results for {len(texts)} texts")
        for text, result in zip(texts, response.results):
            if result.WhichOneof("outcome") == "error":
                self._fault(plan, f"text {text} failed: {result.error.message}")
                continue
            difference = self._storm.bank.difference(plan.lane, text, result)
            self._books.compared += 1
            self._books.worst_difference = max(self._books.worst_difference, difference)
            if not difference <= TOLERANCE:
                self._fault(plan, f"text {text} differs by {difference:.1e} from itself alone")

    def _judge_error(self, plan, number, code, message):
        self._books.answered[plan.lane.key][code] += 1
        expected = {"RESOURCE_EXHAUSTED"} if plan.requests[number] else {"INVALID_ARGUMENT"}
        if plan.timeout_s is not None:
            expected.add("DEADLINE_EXCEEDED")
        if self._storm.server_ends and code in ("UNAVAILABLE", "CANCELLED"):
            self._ended = True
            if any(words in message for words in NEVER_ACCEPTED):
                expected.add(code)
        if code not in expected:
            self._fault(plan, f"{code}: {message}")

    async def _back_off(self):
        await asyncio.sleep(0.02)

    def _fault(self, plan, problem):
        self._books.faults.append(f"{plan.lane.model} {plan.lane.method}: {problem} ({plan})")
