"""Two hundred workers wait for a trial and hold neither a thread nor a connection to the database."""

import asyncio
from pathlib import Path

import httpx

from api.app import create_app
from nas_service.database import Database
from nas_service.settings import Settings
from tests.builders import a_request, enqueued, submitted

WORKERS = 200


def test_two_hundred_workers_wait_without_threads_or_connections(each_database: Database, tmp_path: Path) -> None:
    search_id = submitted(each_database)
    app = create_app(Settings(home=tmp_path, database_url=each_database.url, poll_seconds=0.05))

    async def all_wait_then_one_gets_the_trial() -> None:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, timeout=60) as http:
            waiting = [asyncio.create_task(ask(http, number)) for number in range(WORKERS)]
            while app.state.bell.waiting < WORKERS:
                await asyncio.sleep(0.01)
            # Each of these needs a thread and a connection; there are fewer of both than there are workers that wait.
            reads = [http.get("http://127.0.0.1/api/v1/searches") for _ in range(WORKERS)]
            answers = await asyncio.wait_for(asyncio.gather(*reads), 60)
            assert {answer.status_code for answer in answers} == {200}
            assert app.state.bell.waiting == WORKERS
            await asyncio.to_thread(enqueued, each_database, search_id)
            done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [call.result().status_code for call in done] == [200]
            app.state.bell.close()
            assert {answer.status_code for answer in await asyncio.gather(*others)} == {204}
            await asyncio.get_running_loop().shutdown_default_executor()  # the bell's last look ends before the pool

    asyncio.run(all_wait_then_one_gets_the_trial())


async def ask(http: httpx.AsyncClient, number: int) -> httpx.Response:
    request = a_request(f"request-{number}", id=f"w{number}").model_copy(update={"wait_seconds": 30.0})
    return await http.post("http://127.0.0.1/api/v1/leases", json=request.model_dump(mode="json"))
