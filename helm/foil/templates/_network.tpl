{{/* Who may be reached, and where. Argument: policy, own (labels of the dependency's pods, or none), name
(of the values), url, whose ports are meant unless some are named. */}}
{{- define "foil.egress.to" -}}
- to:
  {{- $peers := get .policy .name }}
  {{- if $peers }}
  {{- toYaml $peers | nindent 4 }}
  {{- else if .own }}
    - podSelector:
        matchLabels:
          {{- toYaml .own | nindent 10 }}
  {{- else }}
  {{- fail (printf "networkPolicy.%s: say who serves %s, as a list of NetworkPolicyPeers (or set networkPolicy.enabled to false)" .name .url) }}
  {{- end }}
  ports:
  {{- range get .policy.ports .name | default (include "foil.ports" .url | fromJsonArray) }}
    - {port: {{ int . }}, protocol: TCP}
  {{- end }}
{{- end }}

{{/* What a pod may reach. Argument: root, config (sections). */}}
{{- define "foil.egress" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $policy := $values.networkPolicy -}}
{{- with $policy.dns -}}
- to:
  {{- toYaml . | nindent 4 }}
  ports:
  {{- range $policy.ports.dns }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
  {{- end }}
{{ end -}}
{{- $own := dict }}
{{- if and $values.nats.enabled (not $values.connections.nats.url) -}}
{{- $own = dict "app.kubernetes.io/name" (get $values.nats "nameOverride" | default "nats") "app.kubernetes.io/instance" $root.Release.Name -}}
{{- end -}}
{{- include "foil.egress.to" (dict "policy" $policy "name" "nats" "own" $own "url" (include "foil.natsUrl" $root)) }}
{{ if hasKey .config "store" -}}
{{- $own = dict -}}
{{- if and $values.qdrant.enabled (not $values.connections.qdrant.url) -}}
{{- $own = dict "app.kubernetes.io/name" (get $values.qdrant "nameOverride" | default "qdrant") "app.kubernetes.io/instance" $root.Release.Name -}}
{{- end -}}
{{- include "foil.egress.to" (dict "policy" $policy "name" "qdrant" "own" $own "url" (include "foil.qdrantUrl" $root)) }}
{{ end -}}
{{- with .config.telemetry -}}
{{- with get . "otlp_endpoint" -}}
{{- include "foil.egress.to" (dict "policy" $policy "name" "otlp" "url" .) }}
{{ end -}}
{{- end -}}
{{- range $section, $name := dict "llm" "llm" "embed" "embeddings" -}}
{{- if include "foil.served" (dict "config" $.config "section" $section) -}}
{{- $url := get (get $.config $section) "base_url" | required (printf "config.%s.base_url: engine \"openai\" needs it" $section) -}}
{{- include "foil.egress.to" (dict "policy" $policy "name" $name "url" $url) }}
{{ end -}}
{{- end -}}
{{- end }}
