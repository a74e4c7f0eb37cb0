"""What the code says: names, and the keys of each binary's configuration, read from its sources."""

import functools
import re

from chart.helm import ROOT

SECTIONS = {
    # section: the file and the struct that hold its keys
    "nats": ("services/runtime/src/config/sections.rs", "NatsConfig"),
    "admin": ("services/runtime/src/config/sections.rs", "AdminConfig"),
    "telemetry": ("services/runtime/src/config/sections.rs", "TelemetryConfig"),
    "shutdown": ("services/runtime/src/config/sections.rs", "ShutdownConfig"),
    "worker": ("services/runtime/src/config/sections.rs", "WorkerConfig"),
    "store": ("services/store/src/config.rs", "StoreConfig"),
    "provision": ("services/store/src/provision/config.rs", "ProvisionConfig"),
    "limits": ("services/store/src/provision/config.rs", "Limits"),
    "embed": ("services/embedder/src/config.rs", "EmbedConfig"),
    "llm": ("services/llm/src/config.rs", "EngineConfig"),
    "embedder": ("services/embedder/src/config.rs", "EmbedderConfig"),
    "selector": ("services/selector/src/config.rs", "SelectorConfig"),
    "extractor": ("services/extractor/src/config.rs", "ExtractorConfig"),
    "profiler": ("services/profiler/src/config.rs", "ProfilerConfig"),
    "generator": ("services/generator/src/config.rs", "GeneratorConfig"),
    "selector.tenant": ("services/selector/src/config.rs", "TenantConfig"),
    "extractor.tenant": ("services/extractor/src/config.rs", "TenantConfig"),
    "profiler.tenant": ("services/profiler/src/config.rs", "TenantConfig"),
    "generator.tenant": ("services/generator/src/config.rs", "TenantConfig"),
    "mover": ("services/mover/src/config.rs", "MoverConfig"),
}


@functools.cache
def source(path):
    return (ROOT / path).read_text("utf-8")


def constants(module):
    """The string constants of a module of proto/src/names.rs."""
    body = re.search(rf"^pub mod {module} \{{(.*?)^\}}", source("proto/src/names.rs"), re.M | re.S)
    if not body:
        raise RuntimeError(f"proto/src/names.rs: no module {module}")
    return dict(re.findall(r'pub const (\w+): &str = "([^"]*)"', body[1]))


def fields(path, struct):
    body = re.search(rf"^pub struct {struct} \{{(.*?)^\}}", source(path), re.M | re.S)
    if not body:
        raise RuntimeError(f"{path}: no struct {struct}")
    return re.findall(r"^    pub (\w+):", body[1], re.M)


def worker_timeout_s(stage):
    """How long one attempt of this stage may take, unless its configuration says otherwise."""
    text = source(f"services/{stage}/src/config.rs")
    (worker,) = re.findall(r"worker: WorkerConfig \{(.*?)\}", text, re.S)
    return int(re.search(r"timeout: Duration::from_secs\((\d+)\)", worker)[1])


def keys(section):
    return fields(*SECTIONS[section])


def sections_of(stage):
    """The sections of a stage's binary."""
    return fields(f"services/{stage}/src/config.rs", "Config")


def stages():
    """Stage to the stream that it reads, as provisioning binds them."""
    streams, names = constants("stream"), constants("stage")
    text = source("services/store/src/provision/streams.rs")
    makers = re.findall(r"(?:staged|consumed)\((\w+)\(config\),\s*stage::(\w+)", text)
    bound = {}
    for maker, stage in makers:
        body = re.search(rf"^fn {maker}\(.*?^\}}", text, re.M | re.S)
        stream = re.search(r"stream::(\w+)", body[0])
        bound[names[stage]] = streams[stream[1]]
    return bound


def routes():
    return set(re.findall(r'\.route\("(/\w+)"', source("services/runtime/src/admin.rs")))
