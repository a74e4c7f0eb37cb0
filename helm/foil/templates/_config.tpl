{{/* A key as TOML: those that users make up, such as a tenant's id, may hold anything. */}}
{{- define "foil.toml.key" -}}
{{- regexMatch "^[A-Za-z0-9_-]+$" . | ternary . (toJson .) -}}
{{- end }}

{{/* One value as TOML. A JSON string is a TOML string too. */}}
{{- define "foil.toml.value" -}}
{{- if kindIs "slice" . -}}
[
{{- range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "foil.toml.value" $item }}{{ end -}}
]
{{- else if kindIs "map" . -}}
{ {{ $first := true }}{{ range $key, $item := . }}{{ if not $first }}, {{ end }}{{ $first = false }}{{ include "foil.toml.key" $key }} = {{ include "foil.toml.value" $item }}{{ end }} }
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* Argument: table, path. Plain keys first: they would else belong to the table before them. */}}
{{- define "foil.toml" -}}
{{- $path := .path -}}
{{- $plain := dict -}}
{{- $tables := dict -}}
{{- range $key, $value := .table -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set (kindIs "map" $value | ternary $tables $plain) $key $value -}}
{{- end -}}
{{- end -}}
{{- if and $path $plain }}
[{{ $path }}]
{{ end -}}
{{- range $key, $value := $plain -}}
{{ include "foil.toml.key" $key }} = {{ include "foil.toml.value" $value }}
{{ end -}}
{{- range $key, $value := $tables -}}
{{- $below := include "foil.toml.key" $key -}}
{{- if $path }}{{ $below = printf "%s.%s" $path $below }}{{ end -}}
{{ include "foil.toml" (dict "table" $value "path" $below) }}
{{- end -}}
{{- end }}

{{/*
Files from Secrets, as JSON: path below /var/run/foil to a projected volume's source.
Argument: root, config (sections), natsAuth.
*/}}
{{- define "foil.secretFiles" -}}
{{- $connections := .root.Values.connections -}}
{{- $files := dict -}}
{{- $auth := .natsAuth -}}
{{- if eq $auth.mode "credentials" -}}
{{- $_ := set $files "nats/credentials" (list $auth.existingSecret $auth.credentialsKey) -}}
{{- else if eq $auth.mode "nkey" -}}
{{- $_ := set $files "nats/nkey" (list $auth.existingSecret $auth.nkeyKey) -}}
{{- end -}}
{{- range $server := list "nats" "qdrant" -}}
{{- $tls := get (get $connections $server) "tls" -}}
{{- if and $tls.ca.existingSecret (or (eq $server "nats") (hasKey $.config "store")) -}}
{{- $_ := set $files (printf "%s/ca.crt" $server) (list $tls.ca.existingSecret $tls.ca.key) -}}
{{- end -}}
{{- if and $tls.client.existingSecret (or (eq $server "nats") (hasKey $.config "store")) -}}
{{- $_ := set $files (printf "%s/tls.crt" $server) (list $tls.client.existingSecret $tls.client.certKey) -}}
{{- $_ := set $files (printf "%s/tls.key" $server) (list $tls.client.existingSecret $tls.client.keyKey) -}}
{{- end -}}
{{- end -}}
{{- with $connections.qdrant.apiKey -}}
{{- if and .existingSecret (hasKey $.config "store") -}}
{{- $_ := set $files "qdrant/api-key" (list .existingSecret .key) -}}
{{- end -}}
{{- end -}}
{{- range $section, $name := dict "llm" "llm" "embed" "embeddings" -}}
{{- $key := (get $connections $name).apiKey -}}
{{- if and $key.existingSecret (include "foil.served" (dict "config" $.config "section" $section)) -}}
{{- $_ := set $files (printf "%s/api-key" $section) (list $key.existingSecret $key.key) -}}
{{- end -}}
{{- end -}}
{{- range $path, $source := $files -}}
{{- if not (first $source) -}}
{{- fail (printf "connections.nats.auth.existingSecret: mode %q needs one" $auth.mode) -}}
{{- end -}}
{{- end -}}
{{- $files | toJson -}}
{{- end }}

{{/* The whole file. Argument: root, config (sections), natsAuth. */}}
{{- define "foil.config" -}}
{{- $values := .root.Values -}}
{{- $files := include "foil.secretFiles" . | fromJson -}}
{{- $config := deepCopy .config -}}
{{- $nats := $config.nats | default dict -}}
{{- $_ := set $nats "url" (include "foil.natsUrl" .root) -}}
{{- $_ := set $nats "require_tls" $values.connections.nats.requireTls -}}
{{- with .natsAuth.inboxPrefix -}}{{- $_ := set $nats "inbox_prefix" . -}}{{- end -}}
{{- $_ := set $config "nats" $nats -}}
{{- $_ := set $config "admin" (dict "listen" (printf "0.0.0.0:%d" (int $values.adminPort))) -}}
{{- if hasKey $config "store" -}}
{{- $_ := set $config.store "qdrant_url" (include "foil.qdrantUrl" .root) -}}
{{- end -}}
{{- range $path, $key := dict "nats/credentials" "nats.credentials" "nats/nkey" "nats.nkey_seed" "nats/ca.crt" "nats.root_certificate" "nats/tls.crt" "nats.certificate" "nats/tls.key" "nats.key" "qdrant/ca.crt" "store.qdrant_root_certificate" "qdrant/tls.crt" "store.qdrant_certificate" "qdrant/tls.key" "store.qdrant_key" "qdrant/api-key" "store.qdrant_api_key_file" "llm/api-key" "llm.api_key_file" "embed/api-key" "embed.api_key_file" -}}
{{- if hasKey $files $path -}}
{{- $parts := splitList "." $key -}}
{{- $_ := set (get $config (first $parts)) (last $parts) (printf "/var/run/foil/%s" $path) -}}
{{- end -}}
{{- end -}}
{{- include "foil.toml" (dict "table" $config "path" "") | trim -}}
{{- end }}
