{{/*
What the chart has to know of Foil's code; tests/chart checks each name against it.
`sections` are those beside nats, admin, telemetry and shutdown, which every process has.
*/}}
{{- define "foil.facts" -}}
embedder: {stream: FOIL_UPDATES, sections: [store, embed, embedder]}
selector: {stream: FOIL_SELECT, sections: [store, selector]}
extractor: {stream: FOIL_EXTRACT, sections: [store, llm, extractor]}
profiler: {stream: FOIL_PROFILE, sections: [store, llm, profiler]}
generator: {stream: FOIL_GENERATE, sections: [store, llm, generator]}
mover: {stream: FOIL_ADVISORIES, sections: [mover]}
{{- end }}

{{/*
The stages that run, as JSON: name to what it has, the defaults filled in. `config` holds the
stage's own sections only.
*/}}
{{- define "foil.stages" -}}
{{- $root := . -}}
{{- $stages := dict -}}
{{- range $name, $fact := include "foil.facts" . | fromYaml -}}
{{- $own := get $root.Values.stages $name | default dict -}}
{{- $stage := mustMergeOverwrite (deepCopy $root.Values.stageDefaults) (deepCopy $own) -}}
{{- if $stage.enabled -}}
{{- $_ := set $stage "name" $name -}}
{{- $_ := set $stage "stream" $fact.stream -}}
{{- $_ := set $stage "model" (mustMergeOverwrite (deepCopy $root.Values.model) $stage.model) -}}
{{- $_ := set $stage "natsAuth" (mustMergeOverwrite (deepCopy $root.Values.connections.nats.auth) $stage.natsAuth) -}}
{{- $known := concat (list "nats" "telemetry" "shutdown") $fact.sections -}}
{{- range $section, $_ := $stage.config -}}
{{- if not (has $section $known) -}}
{{- fail (printf "stages.%s.config.%s: this stage has no such section" $name $section) -}}
{{- end -}}
{{- end -}}
{{- $config := mustMergeOverwrite (deepCopy $root.Values.config) $stage.config -}}
{{- $_ := set $stage "config" (pick $config "nats" "telemetry" "shutdown") -}}
{{- range $fact.sections -}}
{{- $_ := set $stage.config . (get $config . | default dict) -}}
{{- end -}}
{{- include "foil.stages.refuse" (dict "name" $name "stage" $stage) -}}
{{- $_ := set $stages $name $stage -}}
{{- end -}}
{{- end -}}
{{- $stages | toJson -}}
{{- end }}

{{/* What can be written and cannot work. Argument: name, stage. */}}
{{- define "foil.stages.refuse" -}}
{{- $stage := .stage -}}
{{- $engine := get (get $stage.config "llm" | default dict) "engine" -}}
{{- /* Who has an image of their own knows what is in it. */ -}}
{{- if not $stage.image.repository -}}
{{- if and (eq $stage.flavour "cuda") (not (hasKey $stage.config "llm")) -}}
{{- fail (printf "stages.%s.flavour: cuda is for the stages that ask an LLM; this one has no such image" .name) -}}
{{- end -}}
{{- if and (eq $engine "mistralrs") (ne $stage.flavour "cuda") -}}
{{- fail (printf "stages.%s.flavour: engine mistralrs is in the images of flavour cuda only; that of cpu has llama-cpp" .name) -}}
{{- end -}}
{{- end -}}
{{- if eq .name "mover" -}}
{{- $scaled := ne $stage.autoscaling.kind "none" -}}
{{- if lt (int ($scaled | ternary $stage.autoscaling.minReplicas $stage.replicas)) 1 -}}
{{- fail (printf "stages.mover.%s: is 0, and then nobody measures the lag of the others, nor brings away what NATS gives up; stages.mover.enabled turns it off" ($scaled | ternary "autoscaling.minReplicas" "replicas")) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Argument: stage. Whether it reads model files that the chart brings. */}}
{{- define "foil.loads" -}}
{{- $stage := . -}}
{{- range $section := list "llm" "embed" -}}
{{- if and (hasKey $stage.config $section) (ne $stage.model.source "none") (not (include "foil.served" (dict "config" $stage.config "section" $section))) -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether something asks for a device that a node has few of; the expression is that of values.schema.json. */}}
{{- define "foil.accelerated" -}}
{{- range $name, $_ := .resources.limits -}}
{{- if regexMatch "^(nvidia[.]com/(gpu([.]shared)?|mig-[0-9a-z.-]+)|amd[.]com/gpu|gpu[.]intel[.]com/(i915|xe))$" $name -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{/* Argument: config (sections), section. Whether it names a server rather than a model file. */}}
{{- define "foil.served" -}}
{{- $section := get .config .section | default dict -}}
{{- if eq (get $section "engine" | default "llama-cpp") "openai" -}}true{{- end -}}
{{- end }}

{{/* Seconds from the signal to the kill: the process ends by its own deadline, and exits after it. */}}
{{- define "foil.grace" -}}
{{- add 5 (include "foil.seconds" (.shutdown.deadline | default "30s")) -}}
{{- end }}

{{/* The name that a dependency's objects have, as its own chart makes it. Argument: root, chart. */}}
{{- define "foil.dependency" -}}
{{- $values := get .root.Values .chart -}}
{{- $name := get $values "nameOverride" | default .chart -}}
{{- $full := contains $name .root.Release.Name | ternary .root.Release.Name (printf "%s-%s" .root.Release.Name $name) -}}
{{- get $values "fullnameOverride" | default $full | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "foil.natsUrl" -}}
{{- $own := .Values.nats.enabled | ternary (printf "nats://%s:4222" (include "foil.dependency" (dict "root" . "chart" "nats"))) "" -}}
{{- .Values.connections.nats.url | default $own | required "connections.nats.url: name your NATS, or set nats.enabled for one of its own" -}}
{{- end }}

{{- define "foil.qdrantUrl" -}}
{{- $own := .Values.qdrant.enabled | ternary (printf "http://%s:6334" (include "foil.dependency" (dict "root" . "chart" "qdrant"))) "" -}}
{{- .Values.connections.qdrant.url | default $own | required "connections.qdrant.url: name your Qdrant's gRPC address, or set qdrant.enabled for one of its own" -}}
{{- end }}

{{/* Each server's own name stands before it: KEDA asks all of them for the consumer's leader. */}}
{{- define "foil.natsMonitoring" -}}
{{- $own := .Values.nats.enabled | ternary (printf "%s-headless.%s.svc.cluster.local:8222" (include "foil.dependency" (dict "root" . "chart" "nats")) .Release.Namespace) "" -}}
{{- .Values.connections.nats.monitoring.endpoint | default $own | required "connections.nats.monitoring.endpoint: KEDA reads lag from NATS's monitoring port; name its headless service with the port" -}}
{{- end }}
