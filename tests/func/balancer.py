"""balancer.py PORT: sends each connection to 127.0.0.1:PORT on to one of the endpoints, by chance and
without trying another, as kube-proxy does. A line of standard input is the list of endpoints from
then on: "HOST:PORT HOST:PORT ..."."""
import asyncio
import random
import sys

endpoints = []
serving = set()  # asyncio itself keeps no reference


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


async def serve(reader, writer):
    serving.add(asyncio.current_task())
    try:
        host, port = random.choice(endpoints).rsplit(":", 1)
        there = await asyncio.open_connection(host, int(port))
    except (IndexError, OSError):
        writer.transport.abort()  # the client sees a reset, as from a refusing endpoint
    else:
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
        there[1].close()
        writer.close()
    serving.discard(asyncio.current_task())


async def main():
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    while line := await lines.readline():
        endpoints[:] = line.decode().split()
        print("ok", flush=True)


asyncio.run(main())
