{{/* What restricted pod security asks of a pod, and what needs no right of the cluster. */}}
{{- define "foil.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "foil.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "foil.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Secrets that Foil takes from the environment only, and what telemetry says of the pod. Argument: config
(sections), natsAuth, extra. */}}
{{- define "foil.env" -}}
{{- $auth := .natsAuth -}}
{{- if eq $auth.mode "userPassword" }}
- name: FOIL_NATS__USER
  valueFrom: {secretKeyRef: {name: {{ $auth.existingSecret | required "connections.nats.auth.existingSecret: mode userPassword needs one" | quote }}, key: {{ $auth.userKey | quote }}}}
- name: FOIL_NATS__PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $auth.existingSecret | quote }}, key: {{ $auth.passwordKey | quote }}}}
{{- else if eq $auth.mode "token" }}
- name: FOIL_NATS__TOKEN
  valueFrom: {secretKeyRef: {name: {{ $auth.existingSecret | required "connections.nats.auth.existingSecret: mode token needs one" | quote }}, key: {{ $auth.tokenKey | quote }}}}
{{- end }}
{{- if get (get .config "telemetry" | default dict) "otlp_endpoint" }}
- name: K8S_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: K8S_NAMESPACE_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- $own := false }}
{{- range .extra }}{{ $own = or $own (eq .name "OTEL_RESOURCE_ATTRIBUTES") }}{{ end }}
{{- if not $own }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.name=$(K8S_POD_NAME),k8s.namespace.name=$(K8S_NAMESPACE_NAME)
{{- end }}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Argument: root, config, natsAuth, configMap. */}}
{{- define "foil.volumes" -}}
- name: config
  configMap: {name: {{ .configMap }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with include "foil.secretFiles" . | fromJson }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range $path, $source := . }}
      - secret:
          name: {{ first $source | quote }}
          items: [{key: {{ last $source | quote }}, path: {{ $path }}}]
    {{- end }}
{{- end }}
{{- end }}

{{/* The same arguments. */}}
{{- define "foil.mounts" -}}
- {name: config, mountPath: /etc/foil, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if include "foil.secretFiles" . | fromJson }}
- {name: secrets, mountPath: /var/run/foil, readOnly: true}
{{- end }}
{{- end }}

{{/* Argument: root, model. */}}
{{- define "foil.modelVolume" -}}
{{- $model := .model -}}
- name: models
{{- if eq $model.source "pvc" }}
  persistentVolumeClaim:
    claimName: {{ $model.pvc.claimName | required "model.pvc.claimName: source pvc needs it" | quote }}
    readOnly: true
{{- else if eq $model.source "initContainer" }}
  emptyDir: {sizeLimit: {{ $model.initContainer.size | quote }}}
{{- else if eq $model.source "image" }}
  image:
    reference: {{ $model.image.reference | required "model.image.reference: source image needs it" | quote }}
    pullPolicy: {{ $model.image.pullPolicy }}
{{- else if eq $model.source "hostPath" }}
  hostPath:
    path: {{ $model.hostPath.path | required "model.hostPath.path: source hostPath needs it" | quote }}
    type: Directory
{{- end }}
{{- end }}

{{/* Argument: root, model. */}}
{{- define "foil.modelInit" -}}
{{- with .model.initContainer }}
- name: models
  image: {{ .image | required "model.initContainer.image: source initContainer needs it" | quote }}
  imagePullPolicy: {{ .pullPolicy }}
  {{- with .command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .existingSecret }}
  envFrom:
    - secretRef: {name: {{ . | quote }}}
  {{- end }}
  securityContext:
    {{- include "foil.containerSecurity" $ | nindent 4 }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: {{ $.model.mountPath }}}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end }}

{{/*
startup: the model is loaded. ready: NATS is connected, the consumer bound, Qdrant and the model
answer. live: the event loop turns, whatever the others do; an outage elsewhere restarts nobody.
*/}}
{{- define "foil.probes" -}}
startupProbe:
  httpGet: {path: /startupz, port: admin}
  periodSeconds: {{ int .startup.periodSeconds }}
  failureThreshold: {{ int .startup.failureThreshold }}
  timeoutSeconds: 2
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  failureThreshold: 2
  timeoutSeconds: 2
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  failureThreshold: 3
  timeoutSeconds: 2
{{- end }}
