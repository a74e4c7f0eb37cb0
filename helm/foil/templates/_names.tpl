{{- define "foil.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Room is left for the longest suffix: names of pods and labels end at 63 characters. */}}
{{- define "foil.fullname" -}}
{{- $name := include "foil.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Argument: root, component. */}}
{{- define "foil.selector" -}}
app.kubernetes.io/name: {{ include "foil.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Argument: root, component. */}}
{{- define "foil.labels" -}}
{{ include "foil.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Argument: root, suffix of the name ("-extractor-cuda", or ""), image. */}}
{{- define "foil.image" -}}
{{- $common := .root.Values.image -}}
{{- $repository := .image.repository -}}
{{- if not $repository -}}
{{- $registry := $common.registry | required "image.registry: say where your Foil images are (deploy/docker/README.md builds them)" -}}
{{- $repository = printf "%s/%s%s" (trimSuffix "/" $registry) $common.prefix .suffix -}}
{{- end -}}
{{- $tag := .image.tag | default $common.tag | default .root.Chart.AppVersion -}}
{{- with .image.digest }}{{ $repository }}@{{ . }}{{ else }}{{ $repository }}:{{ $tag }}{{ end -}}
{{- end }}

{{/* Argument: root, component, account (the serviceAccount of the values). */}}
{{- define "foil.account" -}}
{{- if .account.create -}}
{{ .account.name | default (printf "%s-%s" (include "foil.fullname" .root) .component) }}
{{- else -}}
{{ .account.name | default "default" }}
{{- end -}}
{{- end }}

{{/* A time as Foil writes it ("1m 30s") in whole seconds, rounded up. */}}
{{- define "foil.seconds" -}}
{{- $ms := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $unit := regexFind "(ms|s|m|h)$" . -}}
{{- $ms = add $ms (mul (trimSuffix $unit . | int64) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit)) -}}
{{- end -}}
{{- div (add $ms 999) 1000 -}}
{{- end }}

{{/* Several addresses are separated by commas. Gives their ports as a JSON list; the port of one that
names none is what its client takes then. */}}
{{- define "foil.ports" -}}
{{- $ports := list -}}
{{- range splitList "," . -}}
{{- $url := urlParse (trim .) -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) -}}
{{- $port = $port | default (get (dict "nats" 4222 "tls" 4222 "ws" 80 "wss" 443 "http" 80 "https" 443) $url.scheme) -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}
