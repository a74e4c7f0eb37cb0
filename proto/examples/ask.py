import asyncio, os, sys, time
import nats
from foil.v1.generate_pb2 import GenerateReply, GenerateRequest
from producer import token

SECONDS = 60  # to the last part of the reply

async def main(tenant, user, item, want="context"):
    request = GenerateRequest(tenant=tenant, user=user, item=item, context_only=want == "context")
    request.deadline_ms = round((time.time() + SECONDS) * 1000)
    async with await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222")) as client:
        replies = await client.subscribe(inbox := client.new_inbox())
        headers = {"Foil-Reply-To": inbox, "Nats-TTL": str(SECONDS)}
        subject = f"foil.v1.generate.{token(tenant)}.interactive"
        await client.jetstream().publish(subject, request.SerializeToString(), headers=headers)
        part = ""
        while part != "done":
            reply = GenerateReply.FromString((await replies.next_msg(timeout=SECONDS)).data)
            part = reply.WhichOneof("part")
            if part == "context":
                print(f"[{reply.context.strategy} {reply.context.degraded}]\n{reply.context.block}")
            elif part == "delta":
                print(reply.delta, end="", flush=True)
            elif part == "failure":
                sys.exit(f"{reply.failure.code}: {reply.failure.message}")

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
