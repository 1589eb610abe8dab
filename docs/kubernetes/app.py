"""The service `payments`: one image for every environment; everything that differs is a setting."""

import asyncio

from meshid import Mesh, Settings, peer_of


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say hello to each line of an admitted peer; no other peer gets here."""
    async for _ in reader:
        writer.write(f"hello {peer_of(writer).spiffe_id}\n".encode())
        await writer.drain()
    writer.close()


async def serve(mesh: Mesh, port: int | None) -> None:
    """Serve until the pod is stopped."""
    server = await asyncio.start_server(answer, "0.0.0.0", port, ssl=mesh.server_context())
    print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    settings = Settings.from_env()
    with Mesh.from_settings(settings) as mesh:
        asyncio.run(serve(mesh, settings.port))
