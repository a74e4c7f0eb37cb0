"""What services/*/README.md say of the configuration: every key that a program takes is there and no other, with
its default, and the limits of numbers and times and the names of choices are the program's."""

import functools
import json
import re
import subprocess
import tempfile
import tomllib
import unittest

from rig import COMMAND_S, ROOT, program

SERVICES = ROOT / "services"
STAGES = ("embedder", "selector", "extractor", "profiler", "generator", "mover")
# Of these a stage's program does not start without; what they are set to says nothing of a default.
NEEDED = {"llm": ("llm.model", "m.gguf"), "embed": ("embed.model", "m.gguf")}
# Where two keys set limits for each other: far away, for the tries of one of them.
APART = ("embed.max_tokens=8", "embed.batch_tokens=65536")
ANY = "no_such_key"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "day": 86400, "days": 86400}


class Row:
    def __init__(self, default, limits, where):
        self.default, self.limits, self.where = default, limits, where


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@functools.cache
def documented():
    """Section to its keys, as the READMEs' tables have them: each says in its first heading what it is about."""
    sections = {}
    for file in sorted(SERVICES.glob("*/README.md")):
        heading = None
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            where = f"{file.relative_to(ROOT)}:{number}"
            if not line.startswith("|"):
                heading = None
            elif heading is None:
                heading = cells(line)
            elif found := re.fullmatch(r"key of `\[(.+)\]`", heading[0]):
                add(sections.setdefault(found[1], {}), heading, cells(line), where)
    return sections


def add(keys, heading, row, where):
    if set(row[0]) <= set("-:"):
        return
    name = row[0].strip("`")
    below = [column.strip("`.") for column in heading if column.startswith("`.")]
    rows = {f"{name}.{key}": Row(row[heading.index(f"`.{key}`")], "", where) for key in below}
    for key, value in (rows or {name: Row(row[1], row[2], where)}).items():
        if key in keys:
            raise RuntimeError(f"{where}: {key} is there twice")
        keys[key] = value


def keys_of(section):
    """What is documented for a program's section, with the keys that all stages share."""
    own = dict(documented().get(section, {}))
    if own.pop("worker.*", None):
        shared = documented()["<stage>.worker"]
        own = {f"worker.{key}": row for key, row in shared.items()} | own
    return own


def run(stage, *arguments):
    """Code and words of a stage's program, or of `foil up` where it is none."""
    words = [program("CARGO_TARGET_DIR", f"release/foil-{stage}" if stage else "release/foil")]
    words += ["up"] if stage is None else []
    done = subprocess.run(
        [*words, *arguments], timeout=COMMAND_S, stdin=subprocess.DEVNULL, text=True, env={},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def known(stage, path):
    """The keys that a program takes below this path: it lists them when it is given another one."""
    return listed(stage, path, "--set", f"{path}=1")


def known_of_each(stage, path):
    """The same of what stands in a list, which only a file can hold."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(f"[[{path}]]\n{ANY} = 1\n")
        file.flush()
        return listed(stage, path, "--config", file.name)


def listed(stage, path, *arguments):
    code, said = run(stage, *arguments, "--check-config")
    found = re.search(r"unknown key; known are ([\w, ]+)", said)
    if code != 64 or not found:
        raise RuntimeError(f"{stage or 'foil'} with {path}: {said}")
    return found[1].strip().split(", ")


@functools.cache
def sections_of(stage):
    return known(stage, f"{ANY}.{ANY}")


def given(stage):
    """Flags without which there is no configuration."""
    needed = (NEEDED[section] for section in NEEDED if stage and section in sections_of(stage))
    return [part for key, value in needed for part in ("--set", f"{key}={value}")]


@functools.cache
def dump(stage):
    code, said = run(stage, *given(stage), "--dump-config")
    if code != 0:
        raise RuntimeError(f"{stage or 'foil'}: {said}")
    return tomllib.loads(said)


def taken(stage, path, value):
    """Each key that a program takes below this section, with its default; None where it has none."""
    for key in known(stage, f"{path}.{ANY}"):
        default = value.get(key)
        below = f"{path}.{key}"
        if key == "tenants" and isinstance(default, dict):
            for own in known(stage, f"{below}.acme.{ANY}"):
                yield f"{below}.<id>.{own}", None
        elif isinstance(default, dict):
            yield from taken(stage, below, default)
        else:
            yield below, default
            if isinstance(default, list) and default and isinstance(default[0], dict):
                for own in known_of_each(stage, below):
                    yield f"{below}.{own}", ...


@functools.cache
def all_taken(stage):
    """Section to key to default."""
    return {
        section: {
            path.partition(".")[2]: value
            for path, value in taken(stage, section, dump(stage)[section])
        }
        for section in sections_of(stage)
    }


def is_default(value, cell):
    """Whether a README's cell says this value."""
    text = ", ".join(word.strip("`") for word in cell.split(", "))
    if value is None:
        return cell == "none"
    if isinstance(value, bool) or value == "":
        return cell == f"`{json.dumps(value)}`"
    if isinstance(value, list):
        return text == ", ".join(each["name"] for each in value)
    if isinstance(value, str):
        return cell == f"`{value}`"
    number = re.fullmatch(r"(\d+(?:\.\d+)?)( MiB)?", text)
    # What is stored in 32 bits is dumped in 64.
    return bool(number) and abs(float(number[1]) * (1 << 20 if number[2] else 1) - value) < 1e-6


def seconds(text):
    found = re.fullmatch(r"(\d+)(ms|s|m|h|days?)", text)
    return found and int(found[1]) * UNITS[found[2]]


def around(limits):
    """Values that a README's cell allows, and values that it does not."""
    found = re.fullmatch(r"(above |at least )?([\w.]+)(?: to ([\w.]+))?", limits)
    if not found or not found[2][0].isdigit() or not (found[1] or found[3]):
        return [], []
    above, (low, high) = found[1] == "above ", found.groups()[1:]
    inside, outside = [] if above else [low], [low] if above else []
    inside += [high] if high else []
    if (least := seconds(low)) is None:
        outside += [str(int(low) - 1)] if float(low) > 0 and not above else []
        outside += [str(int(high) + 1)] if high else []
    else:
        outside += [f"{round(least * 1000) - 1}ms"] if least > 0 and not above else []
        outside += [f"{high} 1s"] if high else []
    return inside, outside


class Services(unittest.TestCase):
    def faults(self, stage, path, value):
        """What a program says of this key when it has this value."""
        apart = [part for key in APART if key.partition(".")[0] in sections_of(stage)
                 for part in ("--set", key)]
        path = path.replace("<id>", "acme")
        code, said = run(stage, *given(stage), *apart, "--set", f"{path}={value}", "--check-config")
        self.assertIn(code, (0, 1, 64), said)
        return [line for line in said.splitlines() if line.startswith(f"  {path}: ")]

    def programs(self):
        """Section and the programs that have it: the stages' own, and the command."""
        for stage in (*STAGES, None):
            for section in sections_of(stage):
                yield stage, section

    def test_each_key_of_each_program_is_documented_and_no_other(self):
        for stage, section in self.programs():
            with self.subTest(program=f"foil-{stage}" if stage else "foil", section=section):
                self.assertEqual(sorted(all_taken(stage)[section]), sorted(keys_of(section)))

    def test_no_section_is_documented_that_no_program_has(self):
        every = {section for _, section in self.programs()} | {"<stage>.worker"}
        self.assertEqual(sorted(documented()), sorted(every))

    def test_defaults_are_those_of_the_programs(self):
        wrong, compared = [], 0
        for stage, section in self.programs():
            for key, value in all_taken(stage)[section].items():
                row = keys_of(section).get(key)
                set_here = stage and (f"{section}.{key}", "m.gguf") in NEEDED.values()
                # One of them is missing, which the first test says; or it belongs to no default.
                if row is None or value is ... or set_here:
                    continue
                compared += 1
                if not is_default(value, row.default):
                    wrong.append(f"{row.where}: [{section}] {key} is {value!r} of foil-{stage}")
        self.assertEqual(wrong, [])
        self.assertGreater(compared, 400)

    def test_what_a_stage_has_otherwise_is_otherwise(self):
        shared = documented()["<stage>.worker"]
        for stage in STAGES:
            for key, row in documented()[stage].items():
                if key.startswith("worker.") and key != "worker.*":
                    common = shared[key.partition(".")[2]]
                    same = (row.default, row.limits) == (common.default, common.limits)
                    self.assertFalse(same, f"{row.where}: {key} is as in every stage")

    def tried(self):
        """Each documented key once, with a program that has it."""
        seen = set()
        for stage, section in self.programs():
            for key, row in keys_of(section).items():
                if row.where not in seen:
                    seen.add(row.where)
                    yield stage, f"{section}.{key}", row

    def test_limits_are_those_of_the_programs(self):
        tried = 0
        for stage, path, row in self.tried():
            inside, outside = around(row.limits)
            for value in inside:
                self.assertEqual(self.faults(stage, path, value), [], (row.where, value))
            for value in outside:
                self.assertNotEqual(self.faults(stage, path, value), [], (row.where, value))
            tried += len(inside) + len(outside)
        self.assertGreater(tried, 200)

    def test_choices_are_those_of_the_programs(self):
        tried = set()
        for stage, path, row in self.tried():
            choices = re.findall(r"`([\w-]+)`", row.limits)
            if not re.fullmatch(r"`[\w-]+`(, `[\w-]+`)+", row.limits) or "true" in choices:
                continue
            (fault,) = self.faults(stage, path, "none of them")
            listed = re.findall(r"`([\w-]+)`", fault.partition("expected")[2])
            self.assertEqual(sorted(choices), sorted(listed), row.where)
            tried.add(path)
        self.assertGreater(len(tried), 6)

    def test_links_and_files_are_there(self):
        for file in sorted(SERVICES.glob("*/README.md")):
            text = file.read_text("utf-8")
            named = re.findall(r"\]\(([^)#]+)", text)
            named += re.findall(r"`((?:src|tests|prompts|benches)/[\w./]*)`", text.partition("## Files")[2])
            for path in named:
                if "://" not in path:
                    self.assertTrue((file.parent / path).exists(), f"{file}: {path}")

    def test_calls_and_flags_of_the_embedded_qdrant_are_those_of_its_code(self):
        text = (SERVICES / "edge/README.md").read_text("utf-8")
        for file, services in (("points.rs", ["Points"]), ("collections.rs", ["Collections", "Qdrant"])):
            source = (SERVICES / "edge/src" / file).read_text("utf-8")
            served = re.findall(r"async fn (\w+)\(\s*&self,\s*_?request: Request<", source)
            rows = [re.search(rf"^\| `{name}` \| (.*?) \|$", text, re.M)[1] for name in services]
            listed = re.findall(r"`(\w+)`", " ".join(rows))
            self.assertEqual(sorted(listed), sorted(name.title().replace("_", "") for name in served))
        said = self.help(program("CARGO_TARGET_DIR", "release/foil-edge"))
        flags = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", said, re.M)) - {"--help", "--version"}
        self.assertEqual(set(re.findall(r"^\| `(--[\w-]+)", text, re.M)), flags)

    @staticmethod
    def help(binary):
        return subprocess.run([binary, "--help"], timeout=COMMAND_S, text=True, check=True,
                              capture_output=True).stdout.partition("Options:")[2].partition("Example")[0]

    def test_each_service_has_a_readme_that_the_first_one_links(self):
        first = (ROOT / "README.md").read_text("utf-8")
        self.assertIn("services/*/README.md", first)
        for manifest in SERVICES.glob("*/Cargo.toml"):
            self.assertTrue((manifest.parent / "README.md").is_file(), manifest)


if __name__ == "__main__":
    unittest.main()
