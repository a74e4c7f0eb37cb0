"""What deploy/events.md shows of reading events from another language, run against a whole Foil."""

import asyncio
import os
import re
import subprocess

import nats

from rig import EXAMPLES, ROOT, Rig, free_port

SCRIPT = EXAMPLES / "events.py"
PRODUCER = EXAMPLES / "producer.py"
USER = "j.doe@example.org"
LINES_MAX = 25
END_S = 60


class Events(Rig):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_url = f"nats://127.0.0.1:{free_port()}"
        qdrant = f"http://127.0.0.1:{free_port()}"
        cls.start_foil(**{"shutdown.deadline": "5s", "store.qdrant_url": qdrant})
        cls.run_shown(PRODUCER.name)
        cls.run_program(
            cls.foil, "erase", USER, "--set", f"nats.url={cls.nats_url}",
            "--set", f"store.qdrant_url={qdrant}",
        )

    def test_the_page_shows_the_script(self):
        page = (ROOT / "deploy/events.md").read_text("utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertEqual(blocks, [SCRIPT.read_text("utf-8")], "deploy/events.md and the script differ")
        lines = [line for line in blocks[0].splitlines() if line.strip()]
        self.assertLessEqual(len(lines), LINES_MAX)

    def test_an_event_comes_once_and_what_it_stands_for_is_in_it(self):
        asyncio.run(self.publish_again())
        self.assertEqual(self.lines(1), [f"foil.v1.user.erased demo {USER} user_erased"])
        # A consumer remembers: what comes next is what was not read.
        asyncio.run(self.publish_again("another"))
        self.assertEqual(self.lines(1), [f"foil.v1.user.erased demo {USER} user_erased"])

    def lines(self, count):
        """The first so many lines; it would go on for ever."""
        environment = os.environ | {"PYTHONPATH": self.generated, "NATS_URL": self.nats_url}
        with subprocess.Popen(
            [self.python, SCRIPT, "foil.v1.event.>"], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as reader:
            try:
                said = [reader.stdout.readline().strip() for _ in range(count)]
                try:
                    reader.wait(2)
                    self.fail(f"it ended: {reader.stdout.read()}")
                except subprocess.TimeoutExpired:
                    pass
            finally:
                reader.terminate()
                rest, _ = reader.communicate(timeout=END_S)
        self.assertEqual(rest, "", "an event came twice")
        return said

    async def publish_again(self, id=None):
        """The event as a stage would tell it again, past NATS's memory of its id."""
        async with await nats.connect(self.nats_url) as client:
            jetstream = client.jetstream()
            told = await jetstream.get_last_msg("FOIL_EVENTS", "foil.v1.event.user.erased.>")
            headers = dict(told.headers)
            original = headers.pop("Nats-Msg-Id", headers["ce-id"])
            self.assertEqual(headers["ce-id"], original)
            headers["ce-id"] = id or headers["ce-id"]
            await jetstream.publish(told.subject, told.data, headers=headers)
