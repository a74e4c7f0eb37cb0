import asyncio, datetime, hashlib, os, re, sys
import nats
from foil.v1.update_pb2 import RecordUpsert, Update

def token(id):  # an id may hold any characters, a token of a subject may not
    return re.sub(rb"[^A-Za-z0-9_-]", lambda m: b"=%02X" % ord(m[0]), id.encode()).decode() or "="

async def main(tenant, user, item, written, text):
    at = round(datetime.datetime.fromisoformat(written).timestamp() * 1000)
    record = RecordUpsert(user=user, item=item, text=text, occurred_at_ms=at)
    payload = Update(tenant=tenant, record_upsert=record).SerializeToString()
    async with await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222")) as client:
        subject = f"foil.v1.update.{token(tenant)}.{token(user)}"
        once = {"Nats-Msg-Id": hashlib.sha256(payload).hexdigest()}
        print(await client.jetstream().publish(subject, payload, headers=once))

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
