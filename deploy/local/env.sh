# shellcheck shell=sh
# Where this machine keeps Foil's assets and build outputs. Sourced, from any POSIX shell:
#     . deploy/local/env.sh
# Each value can be set beforehand; deploy/local/setup fills the folder.

FOIL_CACHE="${FOIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foil}"
# Outside the clone, so that a second clone does not build everything again.
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$FOIL_CACHE/target}"

# Tests find the real server and the real models by these, and fail when they are unset.
FOIL_TEST_NATS_SERVER="${FOIL_TEST_NATS_SERVER:-$FOIL_CACHE/bin/nats-server}"
FOIL_TEST_LLM_MODEL="${FOIL_TEST_LLM_MODEL:-$FOIL_CACHE/models/smollm2-135m-instruct-q8_0.gguf}"
FOIL_TEST_EMBED_MODEL="${FOIL_TEST_EMBED_MODEL:-$FOIL_CACHE/models/all-minilm-l6-v2.gguf}"
# A Python with nats-py and protobuf, for the producer written in another language.
FOIL_TEST_PYTHON="${FOIL_TEST_PYTHON:-$FOIL_CACHE/python/bin/python}"
# Both kinds of Helm, and a linter of Dockerfiles.
FOIL_TEST_HELM3="${FOIL_TEST_HELM3:-$FOIL_CACHE/bin/helm3}"
FOIL_TEST_HELM4="${FOIL_TEST_HELM4:-$FOIL_CACHE/bin/helm4}"
FOIL_TEST_HADOLINT="${FOIL_TEST_HADOLINT:-$FOIL_CACHE/bin/hadolint}"
# A Prometheus that scrapes, and the tool that tests its rules.
FOIL_TEST_PROMETHEUS="${FOIL_TEST_PROMETHEUS:-$FOIL_CACHE/bin/prometheus}"
FOIL_TEST_PROMTOOL="${FOIL_TEST_PROMTOOL:-$FOIL_CACHE/bin/promtool}"

# How long an idle thread of llama.cpp spins before it sleeps. The default never sleeps in time to let
# others work: beside a build or a second model a text then takes several times as long. On an idle
# machine this costs nothing that can be measured.
GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-3000}"

case ":$PATH:" in
*":$FOIL_CACHE/bin:"*) ;;
*) PATH="$FOIL_CACHE/bin:$PATH" ;;
esac

export FOIL_CACHE CARGO_TARGET_DIR GOMP_SPINCOUNT PATH
export FOIL_TEST_NATS_SERVER FOIL_TEST_LLM_MODEL FOIL_TEST_EMBED_MODEL FOIL_TEST_PYTHON
export FOIL_TEST_HELM3 FOIL_TEST_HELM4 FOIL_TEST_HADOLINT FOIL_TEST_PROMETHEUS FOIL_TEST_PROMTOOL
