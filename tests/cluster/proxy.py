# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that can swallow: connections stay, bytes go nowhere, as behind a firewall that has forgotten them.

    with Proxy(("127.0.0.3", 7001), ("127.0.0.2", 7001)) as proxy:
        proxy.swallow = True
"""

import select
import socket
import threading


class Proxy:
    def __init__(self, listen, target):
        self.target, self.swallow = target, False
        self.listener = socket.create_server(listen)
        self.pairs = {}  # socket -> the other one
        self.stopping, self.stopper = socket.socketpair()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stopper.close()
        self.thread.join()
        for one in (self.listener, self.stopping, *self.pairs):
            one.close()

    def _accept(self):
        client, _ = self.listener.accept()
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            client.close()
            return
        self.pairs[client], self.pairs[server] = server, client

    def _drop(self, one):
        other = self.pairs.pop(one, None)
        self.pairs.pop(other, None)
        for end in (one, other):
            if end:
                end.close()

    def _pass(self, one):
        other = self.pairs.get(one)
        if other is None:
            return
        try:
            data = one.recv(65536)
            if data and not self.swallow:
                other.sendall(data)
            if not data:
                self._drop(one)
        except OSError:
            self._drop(one)

    def _run(self):
        while True:
            ready, _, _ = select.select([self.listener, self.stopping, *self.pairs], [], [])
            if self.stopping in ready:
                return
            for one in ready:
                if one is self.listener:
                    self._accept()
                else:
                    self._pass(one)
