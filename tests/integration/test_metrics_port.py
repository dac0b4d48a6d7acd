"""What the port of metrics and health stands."""

import signal
import socket
import time


def test_slow_http_clients_do_not_block_the_health_page(server):
    slow = [socket.create_connection(("127.0.0.1", server.metrics_port)) for _ in range(6)]
    try:
        for connection in slow:
            connection.sendall(b"GET /heal")
        begin = time.monotonic()
        assert server.http("/healthz")[0] == 200
        assert time.monotonic() - begin < 0.9
    finally:
        for connection in slow:
            connection.close()


def test_connections_wait_for_a_server_that_is_busy(start_server, repository):
    server = start_server([repository / "sentiment"])
    server.process.send_signal(signal.SIGSTOP)
    waiting = []
    try:
        for _ in range(64):
            waiting.append(socket.create_connection(("127.0.0.1", server.metrics_port), timeout=0.5))
    finally:
        server.process.send_signal(signal.SIGCONT)
        for connection in waiting:
            connection.close()
    assert server.http("/healthz")[0] == 200
