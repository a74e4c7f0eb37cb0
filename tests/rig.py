"""What the tests of README.md's Python have in common: its blocks, and the real servers."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "proto/examples"
START_S = 120
COMMAND_S = 120


def program(variable, path=None):
    """The file that the environment names; a test that needs it must not pass without."""
    found = named(variable, path)
    if not os.access(found, os.X_OK):
        hint = "cargo build --release --bins" if path else "deploy/local/setup"
        raise RuntimeError(f"no program {found}; {hint} makes it")
    return found


def named(variable, path=None):
    value = os.environ.get(variable)
    if not value:
        raise RuntimeError(f"{variable} is not set; tests/run sets it")
    found = pathlib.Path(value, path) if path else pathlib.Path(value)
    if not found.is_file():
        hint = "cargo build --release --bins" if path else "deploy/local/setup"
        raise RuntimeError(f"no file {found}; {hint} makes it")
    return found


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def code_blocks(language):
    text = (ROOT / "README.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown(language, word):
    """The README's one block that has this word."""
    blocks = [block for block in code_blocks(language) if word in block]
    if len(blocks) != 1:
        raise RuntimeError(f"README.md has {len(blocks)} {language} blocks with {word}, not one")
    return blocks[0]


class Rig(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        # The README's commands are run here, where the clone's folders seem to be.
        for name in ("proto", "deploy"):
            (cls.folder / name).symlink_to(ROOT / name)
        cls.python = program("FOIL_TEST_PYTHON")
        cls.foil = program("CARGO_TARGET_DIR", "release/foil")
        cls.generated = str(cls.folder / "generated")

    @classmethod
    def start(cls, *arguments):
        """Starts a server; gives it and the file of what it says."""
        name = pathlib.Path(arguments[0]).name
        words = cls.folder / f"{name}.log"
        with words.open("wb") as log:
            child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

        def stop():
            child.terminate()
            try:
                child.wait(START_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

        cls.addClassCleanup(stop)
        return child, words

    @staticmethod
    def wait_for(read, child, words):
        """What the server writes down once it listens."""
        end = time.monotonic() + START_S
        while not (value := read()):
            if child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{child.args[0]} does not listen:\n{words.read_text()}")
            time.sleep(0.02)
        return value

    @classmethod
    def start_nats(cls):
        child, words = cls.start(
            program("FOIL_TEST_NATS_SERVER"), "--addr", "127.0.0.1", "--port", "-1",
            "--jetstream", "--store_dir", cls.folder / "nats", "--ports_file_dir", cls.folder,
        )
        ports = cls.folder / f"nats-server_{child.pid}.ports"
        text = cls.wait_for(lambda: ports.exists() and ports.read_text(), child, words)
        return json.loads(text)["nats"][0]

    @classmethod
    def start_qdrant(cls):
        return cls.start_edge("127.0.0.1:0")[1]

    @classmethod
    def start_edge(cls, listen):
        """Gives the process and its URL."""
        child, words = cls.start(
            program("CARGO_TARGET_DIR", "release/foil-edge"),
            "--data-dir", cls.folder / "qdrant", "--listen", listen,
        )
        address = re.compile(r"^listening on (\S+)$", re.MULTILINE)
        found = cls.wait_for(lambda: address.search(words.read_text()), child, words)
        return child, f"http://{found[1]}"

    @classmethod
    def start_foil(cls, **settings):
        """`foil up` with the small models, at `cls.nats_url`."""
        settings = {
            "nats.url": cls.nats_url,
            "store.qdrant_url": f"http://127.0.0.1:{free_port()}",
            "admin.listen": f"127.0.0.1:{free_port()}",
            "up.nats_server": program("FOIL_TEST_NATS_SERVER"),
            "llm.model": named("FOIL_TEST_LLM_MODEL"),
            "embed.model": named("FOIL_TEST_EMBED_MODEL"),
        } | settings
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        child, words = cls.start(cls.foil, "up", "--data-dir", cls.folder / "data", *flags)
        ready = f"http://{settings['admin.listen']}/readyz"
        cls.wait_for(lambda: answers(ready), child, words)
        return child

    @classmethod
    def provision(cls, **settings):
        settings = {"nats.url": cls.nats_url, "store.qdrant_url": cls.qdrant_url} | settings
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        cls.run_program(cls.foil, "provision", *flags)

    @classmethod
    def run_program(cls, *arguments, **environment):
        done = subprocess.run(
            arguments, cwd=cls.folder, env=os.environ | environment, timeout=COMMAND_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{arguments}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    @classmethod
    def run_shown(cls, word):
        """As a person would, with the Python that has the packages first on the path."""
        path = f"{cls.python.parent}{os.pathsep}{os.environ['PATH']}"
        bash = shutil.which("bash")
        return cls.run_program(
            bash, "-ec", shown("sh", word),
            PATH=path, NATS_URL=cls.nats_url, FOIL_NATS__URL=cls.nats_url,
        )

    @classmethod
    def load(cls, script):
        """The script as a module, with the generated messages that it imports."""
        for folder in (cls.generated, str(script.parent)):
            sys.path.insert(0, folder)
            cls.addClassCleanup(sys.path.remove, folder)
        spec = importlib.util.spec_from_file_location(script.stem, script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
