"""What README.md shows of asking and erasing from another language, run against a whole Foil."""

import asyncio
import re
import time
import unittest

import nats

from rig import COMMAND_S, EXAMPLES, Rig, code_blocks, free_port, program, shown

SCRIPT = EXAMPLES / "ask.py"
PRODUCER = EXAMPLES / "producer.py"
LINES_MAX = 25
NOBODY = "[non-perso no_history]\n"


class Ask(Rig):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_url = f"nats://127.0.0.1:{free_port()}"
        # Nothing here needs an LLM's text: what the requests start is broken off at the end.
        cls.start_foil(**{"shutdown.deadline": "5s"})
        cls.run_shown(PRODUCER.name)
        cls.settle()

    @classmethod
    def settle(cls):
        """Until every update published is in the store."""
        cls.run_program(
            cls.foil, "ingest", "-", "--wait", "--timeout", f"{COMMAND_S}s",
            "--set", f"nats.url={cls.nats_url}",
        )

    def ask(self, *arguments):
        return self.run_program(
            self.python, SCRIPT, *arguments, PYTHONPATH=self.generated, NATS_URL=self.nats_url
        )

    def test_readme_shows_the_script(self):
        script = SCRIPT.read_text("utf-8")
        blocks = [block for block in code_blocks("python") if "GenerateRequest" in block]
        self.assertEqual(blocks, [script], "README.md and the script differ")
        lines = [line for line in script.splitlines() if line.strip()]
        self.assertLessEqual(len(lines), LINES_MAX)

    def test_the_commands_shown_bring_the_context_and_erase_its_user(self):
        answer = self.run_shown(SCRIPT.name)
        strategy, _, block = answer.partition("\n")
        # One text, and nobody to compare it with.
        self.assertEqual(strategy, "[intsum no_peers]")
        self.assertIn("kettle 2.0", block)
        self.assertIn("It boils fast, and it howls.", block)
        erased = self.run_shown("user_erase")
        self.assertIn("published 3", erased)
        self.settle()
        self.assertEqual(self.run_shown(SCRIPT.name).strip(), NOBODY.strip())

    def test_a_request_that_is_at_fault_fails_and_names_the_field(self):
        with self.assertRaisesRegex(RuntimeError, "invalid: user"):
            self.ask("demo", "", "pan-corvin-26")

    def test_ids_may_hold_any_characters(self):
        self.assertTrue(self.ask("a tenant.*>", "nobody at all", "an item").startswith(NOBODY))


class Busy(Rig):
    """No generator is there, and one request waits where only one may."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_url = cls.start_nats()
        cls.qdrant_url = cls.start_qdrant()
        cls.provision(**{"provision.generate.max_messages": 1})
        # The first of the commands shown makes the messages that the script imports.
        cls.run_shown(PRODUCER.name)

    def test_a_full_queue_refuses_at_once(self):
        asyncio.run(self.publish())
        started = time.monotonic()
        with self.assertRaisesRegex(RuntimeError, "maximum messages exceeded"):
            self.run_program(
                self.python, SCRIPT, "demo", "mara", "kettle",
                PYTHONPATH=self.generated, NATS_URL=self.nats_url,
            )
        # It waits a minute for a reply.
        self.assertLess(time.monotonic() - started, 20)

    async def publish(self):
        async with await nats.connect(self.nats_url) as client:
            await client.jetstream().publish("foil.v1.generate.demo.interactive", b"waits")


class Configuration(Rig):
    def test_the_example_holds_for_the_programs_that_it_names(self):
        config = self.folder / "config.toml"
        config.write_text(shown("toml", "[llm]"), "utf-8")
        # Files that the example names, and that are looked for when the configuration is checked.
        for name in re.findall(r'"([^"]+\.(?:crt|key|nk))"', config.read_text("utf-8")):
            (self.folder / name).touch()
        (self.folder / "encoder.gguf").touch()
        for stage in ("extractor", "profiler", "generator"):
            binary = program("CARGO_TARGET_DIR", f"release/foil-{stage}")
            said = self.run_program(binary, "--config", config, "--check-config")
            self.assertIn("the configuration holds", said)
        dump = self.run_program(
            self.foil, "up", "--config", config, "--set", "up.embedded_qdrant=false",
            "--set", "embed.model=encoder.gguf", "--check-config",
        )
        self.assertIn("the configuration holds", dump)


if __name__ == "__main__":
    unittest.main()
