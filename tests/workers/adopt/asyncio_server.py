"""An ordinary asyncio server: asyncio_server.py HOST PORT. It finishes its requests on SIGTERM."""
import asyncio
import os
import signal
import sys

BODY = "pid={} slot={PREFORK_SLOT} gen={PREFORK_GENERATION}\n".format(os.getpid(), **os.environ)
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n{BODY}"


async def answer(reader, writer):
    try:
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.write(ANSWER.encode())
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(host, port):
    server = await asyncio.start_server(answer, host, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    # Server.close() would drop connections that were accepted in this round of the loop.
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
