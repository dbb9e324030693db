"""A TCP proxy on loopback that does to its connections what bad networks do."""

import asyncio
import contextlib
import socket
import struct
import threading


class Connection:
    """One connection of a client, and the one that was made for it."""

    def __init__(self, writers):
        self.writers = writers
        self.passing = asyncio.Event()
        self.passing.set()

    def reset(self):
        for writer in self.writers:
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


class ByteProxy:
    """Passes bytes on to `target`, `chunk` bytes at most at a time and `rate` a second in each direction (0: no limit).
    Any thread; `close` must be called."""

    def __init__(self, target, chunk=65536, rate=0):
        self._target = target.rsplit(":", 1)
        self._chunk = chunk
        self._rate = rate
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        for each in (writer, far_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection([writer, far_writer])
        self._connections.add(connection)
        await asyncio.gather(
            self._pump(connection, reader, far_writer), self._pump(connection, far_reader, writer), return_exceptions=True
        )
        self._connections.discard(connection)
        for each in connection.writers:
            each.close()

    async def _pump(self, connection, reader, writer):
        while data := await reader.read(self._chunk):
            if self._rate:
                await asyncio.sleep(len(data) / self._rate)
            await connection.passing.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def _each(self, do):
        connections = list(self._connections)
        for connection in connections:
            do(connection)
        return len(connections)

    def reset(self):
        """Ends all connections with RST, on both sides; how many."""
        return self._run(self._each(Connection.reset))

    def swallow(self):
        """From now on nothing gets through the connections that there are, in neither direction; new ones are well."""
        return self._run(self._each(lambda connection: connection.passing.clear()))

    def close(self):
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self):
        self._server.close()
        for connection in list(self._connections):
            connection.reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
