"""The Dockerfile and the compose file: by linters, and against the code. No container engine is here,
so nothing of it is built or started."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import jsonschema
import yaml

from chart import code, helm

DOCKERFILE = helm.ROOT / "deploy/docker/Dockerfile"
COMPOSE = helm.ROOT / "deploy/compose.yaml"
LLM_STAGES = {"extractor", "profiler", "generator"}
# What the base image for C and C++ programs has beside the C library; no more may be asked of it.
BASE = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libgcc_s.so.1"}
ENGINE = {"libstdc++.so.6", "libgomp.so.1"}
COMMAND_S = 60


def run(*arguments):
    return subprocess.run(
        list(map(str, arguments)), timeout=COMMAND_S, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def stages():
    """Name of each FROM to its base and its instructions."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    found = {}
    for block in re.split(r"^FROM ", text, flags=re.M)[1:]:
        first, _, rest = block.partition("\n")
        base, _, name = first.partition(" AS ")
        found[name] = (base, [line for line in rest.splitlines() if re.match(r"[A-Z]+ ", line)])
    return found


def sent_to_builds():
    lines = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def compiled_from(binary):
    """What the compiler says that it read of the clone for a built binary (its dep-info)."""
    listed = pathlib.Path(os.environ["CARGO_TARGET_DIR"], "release", f"{binary}.d")
    if not listed.is_file():
        raise RuntimeError(f"no file {listed}; cargo build --release --bins makes it")
    _, _, paths = listed.read_text().partition(": ")
    paths = {os.path.normpath(path.replace("\\ ", " ")) for path in re.split(r"(?<!\\)\s+", paths)}
    # Not helm.ROOT: two clones may share the folder of build outputs.
    (root,) = {path.removesuffix("proto/build.rs") for path in paths if path.endswith("/proto/build.rs")}
    return {path.removeprefix(root) for path in paths if path.startswith(root)}


def needed(program):
    """The shared libraries that a program names."""
    done = run("readelf", "-d", program)
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stdout}; cargo build --release --bins makes it")
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", done.stdout))


class Dockerfile(unittest.TestCase):
    def test_hadolint_finds_nothing(self):
        done = run(helm.program("FOIL_TEST_HADOLINT"), "--no-color", DOCKERFILE)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_every_foreign_image_is_named_by_a_digest_that_has_no_default(self):
        own = set(stages())
        arguments = dict(re.findall(r"^ARG (\w+_DIGEST)(.*)$", DOCKERFILE.read_text(), re.M))
        used = set()
        for base, _ in stages().values():
            if base not in own:
                match = re.fullmatch(r"[\w./-]+:[\w.-]+@\$\{(\w+_DIGEST)\}", base)
                self.assertTrue(match, base)
                used.add(match[1])
        self.assertEqual(set(arguments), used)
        self.assertEqual(set(arguments.values()), {""})

    def test_every_image_that_is_named_is_a_target(self):
        wanted = {"foil", "foil-models"} | {f"foil-{stage}" for stage in code.stages()}
        wanted |= {f"foil-{stage}-cuda" for stage in LLM_STAGES}
        self.assertLessEqual(wanted, set(stages()))
        self.assertEqual(list(stages())[-1], "foil")

    def test_every_image_holds_its_own_binary_and_is_nobodys_root(self):
        found = stages()
        for name, (base, lines) in found.items():
            if not name.startswith("foil") or name == "foil-models":
                continue
            with self.subTest(image=name):
                binary = name.removesuffix("-cuda")
                build = "build-cuda" if name.endswith("-cuda") else "build"
                self.assertEqual(lines, [
                    f"COPY --from={build} /out/{binary} /usr/local/bin/{binary}",
                    f'ENTRYPOINT ["/usr/local/bin/{binary}"]',
                ])
                above = found[base][1]
                self.assertIn("USER 65532:65532", above)
                self.assertTrue(any("GOMP_SPINCOUNT=3000" in line for line in above))

    def test_what_cuda_images_write_goes_to_the_one_folder_that_the_chart_lets_them_write(self):
        (base,) = {stages()[f"foil-{stage}-cuda"][0] for stage in LLM_STAGES}
        env = " ".join(line for line in stages()[base][1] if line.startswith("ENV "))
        for variable in ("CUDA_CACHE_PATH", "HF_HOME"):
            path = re.search(rf"{variable}=(\S+)", env)[1]
            self.assertTrue(path.startswith("/tmp/"), variable)

    def test_threads_rest_as_they_do_on_this_machine(self):
        env = (helm.ROOT / "deploy/local/env.sh").read_text()
        self.assertIn('GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-3000}"', env)

    def test_builds_are_locked_and_for_any_server(self):
        for name in ("build", "build-cuda"):
            text = " ".join(stages()[name][1])
            builds = re.findall(r"cargo build [^&]*", text)
            self.assertTrue(builds)
            for build in builds:
                self.assertIn("--release --locked", build)
            self.assertIn("RUSTFLAGS=", text)
            self.assertNotIn("native", text)

    def test_what_a_build_reads_reaches_it(self):
        """Every file of the clone that the compiler took in for the binaries of the images: sources,
        prompts, contracts, and whatever else a program holds."""
        sent = sent_to_builds()
        for binary in ("foil", *(f"foil-{stage}" for stage in code.stages())):
            taken = compiled_from(binary)
            self.assertGreater(len(taken), 20, binary)
            for path in sorted(taken):
                there = any(path == s or path.startswith(f"{s}/") for s in sent)
                self.assertTrue(there, f"{binary} is built from {path}")

    def test_what_reaches_a_build_is_the_whole_workspace(self):
        listed = run(
            "git", "-C", helm.ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "--",
            *sent_to_builds(),
        ).stdout.split("\n")
        with tempfile.TemporaryDirectory() as context:
            for name in filter(None, listed):
                if (helm.ROOT / name).is_file():
                    target = pathlib.Path(context, name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(helm.ROOT / name, target)
            done = run(
                "cargo", "metadata", "--offline", "--locked", "--no-deps", "--format-version", "1",
                "--manifest-path", f"{context}/Cargo.toml",
            )
        self.assertEqual(done.returncode, 0, done.stdout)
        packages = {package["name"] for package in json.loads(done.stdout)["packages"]}
        built = set(re.findall(r"-p (foil[\w-]*)", DOCKERFILE.read_text()))
        self.assertLessEqual(built, packages)
        self.assertLessEqual({"foil", *(f"foil-{stage}" for stage in code.stages())}, built)

    def test_images_need_no_library_that_their_base_has_not(self):
        release = pathlib.Path(os.environ["CARGO_TARGET_DIR"], "release")
        for stage in ("selector", "mover"):
            self.assertLessEqual(needed(release / f"foil-{stage}"), BASE, "it holds an engine")
        for name in ("foil", "foil-embedder", *(f"foil-{stage}" for stage in LLM_STAGES)):
            libraries = needed(release / name)
            self.assertIn("libgomp.so.1", libraries)
            self.assertLessEqual(libraries, BASE | ENGINE)


class Compose(unittest.TestCase):
    def setUp(self):
        self.compose = yaml.safe_load(COMPOSE.read_text())
        self.services = self.compose["services"]

    def test_the_linter_finds_no_more_than_is_meant(self):
        program = pathlib.Path(sys.executable).with_name("compose-lint")
        done = run(program, "check", "--no-env", "--format", "json", COMPOSE)
        self.assertEqual(done.returncode, 0, done.stdout)
        found = json.loads(done.stdout)
        self.assertEqual((found["errors"], found["warnings"]), ([], []))
        # Digests are the user's to set, and one container is root to give volumes away.
        others = {(f["rule_id"], f["service"]) for f in found["findings"]
                  if f["rule_id"] != "CL-0019"}
        self.assertEqual(others, {("CL-0018", "volumes")})

    def test_every_key_is_one_of_composes_own(self):
        """Against the specification's schema. Only that file of the package is used, since the rest of
        it needs what is not installed."""
        (package,) = importlib.util.find_spec("check_jsonschema").submodule_search_locations
        schema = pathlib.Path(package, "builtin_schemas/vendor/compose-spec.json").read_text()
        validator = jsonschema.Draft202012Validator(json.loads(schema))
        self.assertEqual([error.message for error in validator.iter_errors(self.compose)], [])
        self.services["qdrant"]["mem_limits"] = self.services["qdrant"].pop("mem_limit")
        (error,) = validator.iter_errors(self.compose)
        self.assertIn("mem_limits", error.message)

    def test_everything_is_there(self):
        wanted = set(code.stages()) | {
            "nats-0", "nats-1", "nats-2", "qdrant", "provision", "prometheus", "grafana", "collector",
        }
        self.assertLessEqual(wanted, set(self.services))

    def test_nobody_is_root_but_who_gives_volumes_away(self):
        for name, service in self.services.items():
            with self.subTest(service=name):
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertIn("mem_limit", service)
                self.assertIn("cpus", service)
                if name == "volumes":
                    self.assertEqual(service["cap_add"], ["CHOWN"])
                    self.assertEqual(service["network_mode"], "none")
                elif not service["image"].startswith("foil"):
                    self.assertRegex(service["user"], r"^[1-9][0-9]*:")

    def test_every_port_is_this_machines_alone(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name} {port}")

    def test_variables_are_keys_of_the_configuration(self):
        for name, service in self.services.items():
            sections = set(code.sections_of(name)) if name in code.stages() else None
            for variable in service.get("environment", {}):
                if not variable.startswith("FOIL_"):
                    continue
                with self.subTest(service=name, variable=variable):
                    section, key = variable.removeprefix("FOIL_").lower().split("__")
                    self.assertIn(key, code.keys(section))
                    if sections is not None:
                        self.assertIn(section, sections)

    def test_images_are_the_targets_of_the_dockerfile(self):
        for name in (*code.stages(), "provision"):
            service = self.services[name]
            target = service["build"]["target"]
            self.assertIn(target, stages())
            self.assertTrue(service["image"].startswith(f"{target}:"))
            self.assertEqual(service["build"]["dockerfile"], "deploy/docker/Dockerfile")

    def config(self, name):
        """The file that a configuration is."""
        return COMPOSE.parent / self.compose["configs"][name]["file"]

    def test_who_is_read_only_mounts_files(self):
        """Compose refuses to start one with a text in it: it would have to write it there."""
        configs, mounted = self.compose["configs"], set()
        for name, service in self.services.items():
            self.assertIs(service["read_only"], True)
            for config in service.get("configs", []):
                with self.subTest(service=name, config=config["source"]):
                    self.assertEqual(set(configs[config["source"]]), {"file"})
                    self.assertTrue(self.config(config["source"]).is_file())
                    mounted.add(config["source"])
            self.assertNotIn("secrets", service)
        self.assertEqual(mounted, set(configs))

    def test_prometheus_asks_every_stage(self):
        config = yaml.safe_load(self.config("prometheus").read_text())
        (job,) = config["scrape_configs"]
        (names,) = job["dns_sd_configs"]
        self.assertEqual(names["names"], list(code.stages()))
        for name in code.stages():
            listen = self.services[name]["environment"]["FOIL_ADMIN__LISTEN"]
            self.assertEqual(listen, f"0.0.0.0:{names['port']}")

    def test_the_other_configurations_are_yaml(self):
        for name in ("collector", "datasources", "dashboards"):
            self.assertIsInstance(yaml.safe_load(self.config(name).read_text()), dict)
        collector = yaml.safe_load(self.config("collector").read_text())
        endpoint = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
        asked = self.services["embedder"]["environment"]["FOIL_TELEMETRY__OTLP_ENDPOINT"]
        self.assertEqual(endpoint.rpartition(":")[2], asked.rpartition(":")[2])

    def test_nats_takes_its_configuration(self):
        done = run(helm.program("FOIL_TEST_NATS_SERVER"), "-t", "-c", self.config("nats"))
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_who_stops_has_time_to(self):
        shutdown = re.search(r"deadline: Duration::from_secs\((\d+)\)",
                             code.source("services/runtime/src/config/sections.rs"))
        for name in code.stages():
            grace = int(self.services[name]["stop_grace_period"].removesuffix("s"))
            self.assertGreater(grace, int(shutdown[1]))


if __name__ == "__main__":
    unittest.main()
