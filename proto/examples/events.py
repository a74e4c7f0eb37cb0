import asyncio, os, sys
import nats
from foil.v1.event_pb2 import Event

async def main(pattern="foil.v1.event.>"):
    async with await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222")) as client:
        jetstream, seen = client.jetstream(), set()  # a database would remember for longer
        events = await jetstream.pull_subscribe(pattern, durable="example", stream="FOIL_EVENTS")
        while True:
            try:
                messages = await events.fetch(16, timeout=30)
            except nats.errors.TimeoutError:
                continue  # nothing new
            for message in messages:
                id, kind = message.headers["ce-id"], message.headers["ce-type"]
                if id not in seen:
                    event = Event.FromString(message.data)
                    print(kind, event.tenant, event.user, event.WhichOneof("kind"), flush=True)
                seen.add(id)
                await message.ack()

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
