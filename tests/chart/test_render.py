"""Each value file through both kinds of Helm; what the chart refuses, and what it says then."""

import json
import pathlib
import re
import shutil
import tempfile
import tomllib
import unittest

import yaml

from chart import code, helm

LLM_STAGES = ("extractor", "profiler", "generator")
UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(text):
    """A time as a shutdown's deadline is written."""
    return sum(int(number) * UNITS_S[unit] for number, unit in re.findall(r"(\d+)(ms|[smh])", text))


class Rendering(unittest.TestCase):
    def test_every_value_file_is_linted_by_both_helms(self):
        chart, _ = helm.packed()
        for version in helm.helms():
            for name in helm.CI:
                with self.subTest(helm=version, values=name):
                    done = helm.run(
                        "lint", chart, "--strict", "--quiet", "--values", helm.value_file(name),
                        helm=version, check=False,
                    )
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_both_helms_render_the_same(self):
        for name in helm.CI:
            with self.subTest(values=name):
                by_name = [
                    {(o["kind"], o["metadata"]["name"]): o for o in helm.rendered(name, version)}
                    for version in helm.helms()
                ]
                self.assertEqual(*by_name)

    def test_everything_off_renders_nothing(self):
        self.assertEqual(helm.rendered("everything-off"), [])

    def test_no_object_is_there_twice(self):
        for name in helm.CI:
            seen = [(o["kind"], o["metadata"]["name"]) for o in helm.rendered(name)]
            self.assertEqual(len(seen), len(set(seen)), name)
            for _, object_name in seen:
                self.assertLessEqual(len(object_name), 63)

    def test_notes_name_the_stages(self):
        notes = self.notes("--values", helm.value_file("external"))
        self.assertIn("embedder, extractor, generator, mover, profiler, selector", notes)
        self.assertIn(f"helm -n {helm.NAMESPACE} test {helm.RELEASE}", notes)
        self.assertNotIn("WARNING", notes)
        notes = self.notes(
            "--values", helm.value_file("external"), "--set", "stages.profiler.replicas=0",
            "--set", "provision.enabled=false",
        )
        self.assertIn("WARNING: profiler has no replica", notes)
        self.assertIn("Nothing was provisioned", notes)

    def test_notes_warn_of_image_volumes_that_a_cluster_has_not(self):
        """Helm shows notes of an installation only, which is told no version: so as an object."""
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder, "foil")
            shutil.copytree(helm.packed()[0], chart)
            text = (chart / "templates/NOTES.txt").read_text()
            (chart / "templates/zz.yaml").write_text(
                '{{- define "notes" }}' + text + "{{ end }}\napiVersion: v1\nkind: ConfigMap\n"
                'metadata: {name: notes}\ndata: {notes: {{ include "notes" . | toJson }}}\n'
            )

            def warned(version):
                done = helm.template(
                    "--values", helm.value_file("gpu"), "--kube-version", version,
                    "--show-only", "templates/zz.yaml", chart=chart,
                )
                notes = yaml.safe_load(done.stdout)["data"]["notes"]
                return set(re.findall(r"WARNING: (\w+) takes its model from an image volume", notes))

            # The embedder has a claim, the generator a folder.
            self.assertEqual(warned("1.34"), {"extractor", "profiler"})
            self.assertEqual(warned("1.35"), set())

    @staticmethod
    def notes(*arguments):
        chart, _ = helm.packed()
        return helm.run(
            "install", helm.RELEASE, chart, "--namespace", helm.NAMESPACE, "--dry-run=client",
            *arguments,
        ).stdout.split("NOTES:")[1]


class Refusals(unittest.TestCase):
    """Each wrong combination ends with words that name the value."""

    def test_what_is_missing_is_named(self):
        refused = {
            "image.registry": ['image.registry=""'],
            "connections.nats.url": ['connections.nats.url=""'],
            "connections.qdrant.url": ['connections.qdrant.url=""'],
            "connections.nats.auth.existingSecret": ['connections.nats.auth.existingSecret=""'],
            "networkPolicy.nats": ["networkPolicy.nats=[]"],
            "networkPolicy.llm": ["networkPolicy.llm=[]"],
            "model.pvc.claimName": ['model.pvc.claimName=""'],
            "model.image.reference": ['model.source="image"'],
            "model.initContainer.image": ['model.source="initContainer"'],
            "model.hostPath.path": ['model.source="hostPath"'],
            "stages.extractor.autoscaling.minReplicas": ["stages.extractor.autoscaling.minReplicas=0"],
            "stages.mover.enabled": ["stages.mover.enabled=false"],
            "stages.extractor.autoscaling.maxReplicas": [
                "stages.extractor.autoscaling.minReplicas=9"
            ],
            "connections.nats.monitoring.endpoint": ['stages.selector.autoscaling={"kind":"keda"}'],
            "stages.embedder.flavour": ['stageDefaults.flavour="cuda"'],
            "stages.selector.flavour": ['stages.selector.flavour="cuda"'],
            "stages.mover.flavour": ['stages.mover.flavour="cuda"'],
            "stages.profiler.flavour": ['stages.profiler.config.llm={"engine":"mistralrs","model":"/models/m"}'],
            "stages.mover.replicas": ["stages.mover.replicas=0"],
            "stages.mover.autoscaling.minReplicas": [
                'stages.mover.autoscaling={"kind":"keda","minReplicas":0}'
            ],
        }
        for value, settings in refused.items():
            with self.subTest(value=value):
                flags = [flag for setting in settings for flag in ("--set-json", setting)]
                done = helm.template(
                    "--values", helm.value_file("external"), "--kube-version", "1.36", *flags,
                    check=False,
                )
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(f"{value}: ", done.stderr)

    def test_who_has_images_of_their_own_knows_what_is_in_them(self):
        own = {"repository": "registry.example/own"}
        objects = helm.rendered(
            "external", "4", f"stages.profiler.image={json.dumps(own)}",
            'stages.profiler.config.llm={"engine":"mistralrs","model":"/models/m"}',
            f"stages.embedder.image={json.dumps(own)}", 'stages.embedder.flavour="cuda"',
        )
        (container,) = helm.named(objects, "Deployment", "-profiler")["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["image"], "registry.example/own:0.1.0-rc1")

    def test_an_hpa_goes_to_zero_where_kubernetes_lets_it(self):
        done = helm.template(
            "--values", helm.value_file("external"), "--kube-version", "1.37",
            "--set", "stages.extractor.autoscaling.minReplicas=0",
        )
        (found,) = helm.of_kind(list(yaml.safe_load_all(done.stdout)), "HorizontalPodAutoscaler")
        self.assertEqual(found["spec"]["minReplicas"], 0)

    def test_a_server_without_an_address_is_named(self):
        done = helm.template(
            "--values", helm.value_file("minimal"), "--set", "config.llm.engine=openai", check=False
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("config.llm.base_url: ", done.stderr)

    def test_a_section_of_another_stage_is_refused(self):
        """Also without the schema, which some tools leave out."""
        done = helm.template(
            "--values", helm.value_file("minimal"), "--skip-schema-validation",
            "--set", "stages.selector.config.llm.parallel=2", check=False,
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("stages.selector.config.llm: ", done.stderr)

    def test_the_defaults_say_what_is_missing(self):
        done = helm.template(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"image\.registry|connections\.\w+\.url")


class Choices(unittest.TestCase):
    def test_a_stage_says_no_to_a_default(self):
        objects = helm.rendered(
            "external", "4", 'stages.selector={"podDisruptionBudget":{"enabled":false},"replicas":0}'
        )
        names = [o["metadata"]["name"] for o in helm.of_kind(objects, "PodDisruptionBudget")]
        self.assertEqual(names.count("personal-selector"), 0)
        self.assertIn("personal-embedder", names)
        replicas = helm.named(objects, "Deployment", "-selector")["spec"]["replicas"]
        self.assertEqual(replicas, 0)

    def test_models_come_from_where_they_are_said_to_be(self):
        def volumes(*settings):
            objects = helm.rendered("external", "4", *settings)
            pod = helm.named(objects, "Deployment", "-embedder")["spec"]["template"]["spec"]
            mounted = [m["name"] for m in pod["containers"][0]["volumeMounts"]]
            found = {volume["name"]: volume for volume in pod["volumes"]}
            self.assertEqual("models" in found, "models" in mounted)
            return found.get("models"), pod

        claim, pod = volumes()
        self.assertEqual(claim["persistentVolumeClaim"]["claimName"], "models")
        mounts = pod["containers"][0]["volumeMounts"]
        (models,) = [mount for mount in mounts if mount["name"] == "models"]
        self.assertEqual((models["mountPath"], models["subPath"]), ("/models", "foil"))
        image, _ = volumes('model={"source":"image","image":{"reference":"models@sha256:1"}}')
        self.assertEqual(image["image"]["reference"], "models@sha256:1")
        path, _ = volumes('model={"source":"hostPath","hostPath":{"path":"/srv/models"}}')
        self.assertEqual(path["hostPath"], {"path": "/srv/models", "type": "Directory"})
        empty, pod = volumes('model={"source":"initContainer","initContainer":{"image":"loader:1"}}')
        self.assertEqual(empty["emptyDir"], {"sizeLimit": "8Gi"})
        self.assertEqual(pod["initContainers"][0]["image"], "loader:1")
        none, _ = volumes('model={"source":"none"}')
        self.assertIsNone(none)

    def test_who_asks_a_server_gets_no_models(self):
        objects = helm.rendered("external")
        for stage in ("selector", "extractor", "generator"):
            pod = helm.named(objects, "Deployment", f"-{stage}")["spec"]["template"]["spec"]
            self.assertNotIn("models", [volume["name"] for volume in pod["volumes"]], stage)

    def test_each_way_to_prove_who_one_is(self):
        def shown(mode):
            mode = f'connections.nats.auth={{"mode":"{mode}","existingSecret":"who"}}'
            objects = helm.rendered("external", "4", mode)
            config = helm.named(objects, "ConfigMap", "-selector")["data"]["config.toml"]
            pod = helm.named(objects, "Deployment", "-selector")["spec"]["template"]["spec"]
            variables = [v["name"] for v in pod["containers"][0].get("env", [])]
            variables = [name for name in variables if name.startswith("FOIL_")]
            files = [
                (source["secret"]["name"], item["key"], item["path"])
                for volume in pod["volumes"] if volume["name"] == "secrets"
                for source in volume["projected"]["sources"]
                for item in source["secret"]["items"]
            ]
            return tomllib.loads(config)["nats"], variables, files

        nats, variables, files = shown("credentials")
        self.assertEqual(nats["credentials"], "/var/run/foil/nats/credentials")
        self.assertIn(("who", "nats.creds", "nats/credentials"), files)
        nats, variables, files = shown("nkey")
        self.assertEqual(nats["nkey_seed"], "/var/run/foil/nats/nkey")
        self.assertIn(("who", "nats.nk", "nats/nkey"), files)
        self.assertEqual(shown("token")[1], ["FOIL_NATS__TOKEN"])
        self.assertEqual(shown("userPassword")[1], ["FOIL_NATS__USER", "FOIL_NATS__PASSWORD"])
        nats, variables, files = shown("none")
        self.assertEqual((set(nats), variables), ({"url", "require_tls"}, []))
        self.assertNotIn("who", str(files))

    def test_provisioning_goes_before_what_is_there_and_beside_what_comes_along(self):
        def job(name, *settings):
            return helm.of_kind(helm.rendered(name, "4", *settings), "Job")[0]["metadata"]

        hook = job("external")
        self.assertEqual(hook["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
        # What the hook's pod mounts has to be there before it.
        for found in helm.rendered("external"):
            if helm.component(found) == "provision" and found["kind"] != "Job":
                weight = found["metadata"]["annotations"]["helm.sh/hook-weight"]
                self.assertLess(int(weight), int(hook["annotations"]["helm.sh/hook-weight"]))
        beside = job("minimal")
        self.assertNotIn("annotations", beside)
        other = job("minimal", "provision.config.ack_wait=\"2m\"")
        self.assertNotEqual(beside["name"], other["name"], "a Job cannot be changed")

    def test_provisioning_waits_for_less_than_its_job_has(self):
        """Twice: for NATS, then for Qdrant."""
        for deadline, wait in ((None, "720s"), (600, "240s")):
            settings = [] if deadline is None else [f"provision.activeDeadlineSeconds={deadline}"]
            job = helm.of_kind(helm.rendered("minimal", "4", *settings), "Job")[0]["spec"]
            self.assertEqual(job["activeDeadlineSeconds"], deadline or 1800)
            (container,) = job["template"]["spec"]["containers"]
            self.assertEqual(container["args"][-3:], ["provision", "--wait", wait])

    def test_a_cluster_of_nats_that_comes_along_holds_three_copies(self):
        def replicas(*settings):
            objects = helm.rendered("minimal", "4", *settings)
            files = [helm.named(objects, "ConfigMap", f"-{c}")["data"]["config.toml"]
                     for c in ("provision", "command")]
            first, second = [tomllib.loads(file).get("provision", {}).get("replicas") for file in files]
            self.assertEqual(first, second)
            return first

        three = 'nats.config.cluster={"enabled":true,"replicas":3}'
        self.assertIsNone(replicas())
        self.assertEqual(replicas(three), 3)
        self.assertEqual(replicas(three, "provision.config.replicas=1"), 1)
        self.assertIsNone(replicas('nats.config.cluster={"enabled":true,"replicas":2}'))
        elsewhere = ('connections.nats.url="nats://n:4222"', 'networkPolicy.nats=[{"ipBlock":{"cidr":"192.0.2.0/28"}}]')
        self.assertIsNone(replicas(three, *elsewhere))

    def test_the_grace_period_outlasts_the_shutdown(self):
        for deadline, grace in (("1m 30s", 95), ("1500ms", 7), ("1h", 3605), ("30s", 35)):
            own = [f'stages.{s}.config.shutdown.deadline="{deadline}"' for s in LLM_STAGES]
            objects = helm.rendered("external", "4", f'config.shutdown.deadline="{deadline}"', *own)
            for found in helm.of_kind(objects, "Deployment"):
                spec = found["spec"]["template"]["spec"]
                self.assertEqual(spec["terminationGracePeriodSeconds"], grace, deadline)

    def test_who_asks_an_llm_finishes_what_it_has_begun(self):
        """An attempt may take `worker.timeout`; what is cut off is asked, and paid, a second time."""
        for name in helm.CI:
            objects = helm.rendered(name)
            for found in helm.of_kind(objects, "Deployment"):
                stage = helm.component(found)
                if stage not in LLM_STAGES:
                    continue
                with self.subTest(values=name, stage=stage):
                    file = helm.named(objects, "ConfigMap", f"-{stage}")["data"]["config.toml"]
                    config = tomllib.loads(file)
                    timeout = config.get(stage, {}).get("worker", {}).get("timeout")
                    attempt_s = seconds(timeout) if timeout else code.worker_timeout_s(stage)
                    deadline_s = seconds(config["shutdown"]["deadline"])
                    self.assertGreaterEqual(deadline_s, attempt_s)
                    grace = found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                    self.assertEqual(grace, deadline_s + 5)

    def test_files_of_ones_own_are_mounted_for_reading(self):
        def of(stage, *settings):
            objects = helm.rendered("external", "4", *settings)
            pod = helm.named(objects, "Deployment", f"-{stage}")["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            return pod["volumes"], container["volumeMounts"], container["env"]

        for stage in code.stages():
            volumes, mounts, variables = of(stage)
            self.assertIn("ca", [volume["name"] for volume in volumes])
            self.assertIn({"name": "ca", "mountPath": "/etc/company", "readOnly": True}, mounts)
            self.assertIn({"name": "SSL_CERT_FILE", "value": "/etc/company/ca.crt"}, variables)
        volumes, mounts, _ = of(
            "generator", 'stages.generator.extraVolumes=[{"name":"cache","emptyDir":{"sizeLimit":"1Gi"}}]',
            'stages.generator.extraVolumeMounts=[{"name":"cache","mountPath":"/cache","readOnly":false}]',
        )
        self.assertNotIn("ca", [volume["name"] for volume in volumes], "its own list is the whole list")
        self.assertIn({"name": "cache", "mountPath": "/cache", "readOnly": False}, mounts)

    def test_telemetry_names_its_pod_where_it_is_sent(self):
        def variables(name, *settings):
            return {
                pod_name.rpartition("-")[2]: {
                    v["name"]: v.get("value") or v["valueFrom"]["fieldRef"]["fieldPath"]
                    for v in pod["containers"][0].get("env", [])
                    if v["name"].startswith(("K8S_", "OTEL_"))
                }
                for pod_name, pod in helm.pods(helm.rendered(name, "4", *settings))
            }

        wanted = {
            "K8S_POD_NAME": "metadata.name", "K8S_NAMESPACE_NAME": "metadata.namespace",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=$(K8S_POD_NAME),k8s.namespace.name=$(K8S_NAMESPACE_NAME)",
        }
        sent = variables("production")
        # The test has no telemetry of its own.
        self.assertEqual(sent.pop("test"), {})
        self.assertEqual(set(sent), {*code.stages(), "provision"})
        self.assertTrue(all(found == wanted for found in sent.values()), sent)
        self.assertFalse(any(variables("external").values()))
        own = 'stageDefaults.extraEnv=[{"name":"OTEL_RESOURCE_ATTRIBUTES","value":"a=$(K8S_POD_NAME)"}]'
        found = variables("production", own)["selector"]
        self.assertEqual(found["OTEL_RESOURCE_ATTRIBUTES"], "a=$(K8S_POD_NAME)")

    def test_a_change_of_configuration_makes_new_pods(self):
        def checksum(*settings):
            found = helm.named(helm.rendered("external", "4", *settings), "Deployment", "-selector")
            return found["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        self.assertEqual(checksum(), checksum("stages.embedder.config.embedder.eager=true"))
        self.assertNotEqual(checksum(), checksum('config.telemetry.level="debug"'))
