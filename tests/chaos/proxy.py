"""A TCP proxy between the workers and the servers that drops, delays and cuts what passes through it.

Every connection goes to one of the servers at random, so a repeated call meets another one. It knows nothing of HTTP:
what it does to a piece of a request or a response follows from its seed and the order in which pieces arrive.
"""

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from random import Random

# What happens to one piece: (name, share of the pieces). The rest passes.
TO_REQUESTS = (("request dropped", 0.01), ("request delayed", 0.04))
TO_RESPONSES = (("response dropped", 0.015), ("response delayed", 0.04), ("response cut in half", 0.005))
LONGEST_DELAY = 1.2  # seconds


class Proxy:
    """Listens on a free port of this machine from a thread of its own."""

    def __init__(self, servers: list[int], seed: int) -> None:
        self.calm = False  # once true everything passes
        self.counts: Counter[str] = Counter()
        self._servers = servers
        self._random = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), name="proxy")
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        """Where the workers find the service."""
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        """Drop every connection and end."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        self._end = asyncio.Event()
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in self._random.sample(self._servers, len(self._servers)):
            with suppress(OSError):
                server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            writer.close()
            return
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, TO_REQUESTS)),
            asyncio.create_task(self._pump(server_reader, writer, TO_RESPONSES)),
        ]
        try:  # with one direction the whole connection ends
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            writer.close()
            server_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hazards: tuple[tuple[str, float], ...]
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                hazard = self._hazard(hazards)
                if hazard.endswith("dropped"):
                    return
                if hazard.endswith("delayed"):
                    await asyncio.sleep(self._random.uniform(0, LONGEST_DELAY))
                writer.write(piece[: len(piece) // 2] if hazard.endswith("half") else piece)
                await writer.drain()
                if hazard.endswith("half"):
                    return

    def _hazard(self, hazards: tuple[tuple[str, float], ...]) -> str:
        roll = self._random.random()
        for name, share in () if self.calm else hazards:
            if roll < share:
                self.counts[name] += 1
                return name
            roll -= share
        return "none"
