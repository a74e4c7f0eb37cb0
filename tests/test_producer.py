"""The producer that README.md shows, in Python, run against the real servers."""

import unittest

from rig import EXAMPLES, ROOT, Rig, code_blocks

SCRIPT = EXAMPLES / "producer.py"
LINES_MAX = 15

# What the README's command publishes.
USER, ITEM = "j.doe@example.org", "kettle 2.0"
WRITTEN_MS = 1_773_512_400_000
TEXT = "It boils fast, and it howls."


def vectors():
    for line in (ROOT / "proto/tests/tokens.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            id_hex, token = line.split(" ")
            yield bytes.fromhex(id_hex.strip("-")).decode(), token


class Producer(Rig):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_url = cls.start_nats()
        cls.qdrant_url = cls.start_qdrant()
        cls.provision()
        cls.first = cls.run_shown(SCRIPT.name)
        cls.producer = cls.load(SCRIPT)

    def publish(self, *arguments):
        return self.run_program(
            self.python, SCRIPT, *arguments, PYTHONPATH=self.generated, NATS_URL=self.nats_url
        )

    def stored(self, subject):
        """The updates under this subject, oldest first, and how many there are in all."""
        return self.producer.asyncio.run(read(self.nats_url, subject))

    def test_readme_shows_the_script(self):
        script = SCRIPT.read_text("utf-8")
        shown = [block for block in code_blocks("python") if "RecordUpsert" in block]
        self.assertEqual(shown, [script], "README.md and the script differ")
        lines = [line for line in script.splitlines() if line.strip()]
        self.assertLessEqual(len(lines), LINES_MAX)

    def test_the_commands_shown_store_the_update_once(self):
        self.assertIn("FOIL_UPDATES", self.first)
        again = self.run_shown(SCRIPT.name)
        self.assertIn("duplicate=True", again)
        messages = self.stored("foil.v1.update.demo.j=2Edoe=40example=2Eorg")
        self.assertEqual(len(messages), 1, "the same update is stored once")
        update = self.producer.Update.FromString(messages[0].data)
        self.assertEqual(update.tenant, "demo")
        record = update.record_upsert
        self.assertEqual((record.user, record.item, record.text), (USER, ITEM, TEXT))
        self.assertEqual(record.occurred_at_ms, WRITTEN_MS)
        self.assertFalse(record.HasField("rating"))
        self.assertEqual(update.WhichOneof("change"), "record_upsert")

    def test_an_edited_text_is_stored_beside_the_first(self):
        self.publish("demo", "edits", ITEM, "2026-03-14T18:20:00Z", "First.")
        self.publish("demo", "edits", ITEM, "2026-03-14T18:21:00.5+01:00", "Second.")
        messages = self.stored("foil.v1.update.demo.edits")
        updates = [self.producer.Update.FromString(message.data) for message in messages]
        self.assertEqual([u.record_upsert.text for u in updates], ["First.", "Second."])
        self.assertEqual(updates[1].record_upsert.occurred_at_ms, WRITTEN_MS - 3_540_000 + 500)

    def test_tokens_are_those_of_the_contract(self):
        pairs = list(vectors())
        self.assertGreaterEqual(len(pairs), 10)
        for id, token in pairs:
            self.assertEqual(self.producer.token(id), token)

    def test_an_odd_id_reaches_the_subject_that_the_contract_names(self):
        odd = "a.b *>\n"
        token = dict(vectors())[odd]
        self.publish("demo", odd, odd, "2026-03-14T18:20:00Z", TEXT)
        [message] = self.stored(f"foil.v1.update.demo.{token}")
        record = self.producer.Update.FromString(message.data).record_upsert
        self.assertEqual((record.user, record.item), (odd, odd))


async def read(url, subject):
    import nats

    async with await nats.connect(url) as client:
        jetstream = client.jetstream()
        info = await jetstream.stream_info("FOIL_UPDATES")
        messages = [
            await jetstream.get_msg("FOIL_UPDATES", seq)
            for seq in range(info.state.first_seq, info.state.last_seq + 1)
        ]
    return [message for message in messages if message.subject == subject]


if __name__ == "__main__":
    unittest.main()
