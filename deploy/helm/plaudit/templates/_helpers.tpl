{{- define "plaudit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "plaudit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "plaudit.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "plaudit.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select: (dict "root" $ "component" "worker") */}}
{{- define "plaudit.selector" -}}
app.kubernetes.io/name: {{ include "plaudit.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "plaudit.labels" -}}
{{ include "plaudit.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "plaudit.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Environment of a container: (dict "root" $ "service" "worker" "own" dict-of-settings) */}}
{{- define "plaudit.env" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $settings := merge (dict) (.own | default dict) .root.Values.settings (dict "STREAM_PARTITIONS" (toString .root.Values.streamPartitions)) -}}
- name: PLAUDIT_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $secrets.name }}, key: {{ $secrets.redisUrl }}}}
- name: PLAUDIT_CLICKHOUSE_URL
  valueFrom: {secretKeyRef: {name: {{ $secrets.name }}, key: {{ index $secrets.clickhouseUrl .service }}}}
{{- if and $secrets.sessionSecret (eq .service "analytics") }}
- name: PLAUDIT_ANALYTICS_SESSION_SECRET
  valueFrom: {secretKeyRef: {name: {{ $secrets.name }}, key: {{ $secrets.sessionSecret }}}}
{{- end }}
{{- range $name, $value := $settings }}
- name: PLAUDIT_{{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- if and .root.Values.tracing.enabled (has .service (list "ingest" "worker")) }}
{{ include "plaudit.tracingEnv" .root }}
{{- end }}
{{- end -}}

{{/* What switches traces on; the rest are OpenTelemetry's own variables. */}}
{{- define "plaudit.tracingEnv" -}}
{{- $tracing := .Values.tracing -}}
- name: PLAUDIT_OTEL_TRACING
  value: "true"
- name: PLAUDIT_OTEL_FORCED_RATE
  value: {{ $tracing.forcedRate | toString | quote }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ required "tracing.endpoint is needed where tracing is enabled" $tracing.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_COMPRESSION
  value: gzip
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $tracing.sampleRatio | toString | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "plaudit.resourceAttributes" . | quote }}
{{- with .Values.secrets.otlpHeaders }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ $.Values.secrets.name }}, key: {{ . }}}}
{{- end }}
{{- end -}}

{{- define "plaudit.resourceAttributes" -}}
{{- $told := list (printf "k8s.namespace.name=%s" .Release.Namespace) -}}
{{- range $name, $value := .Values.tracing.resourceAttributes }}{{ $told = append $told (printf "%s=%s" $name $value) }}{{ end -}}
{{- join "," $told -}}
{{- end -}}

{{- define "plaudit.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "plaudit.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What every pod has: (dict "root" $ "component" "worker") */}}
{{- define "plaudit.podMeta" -}}
labels:
  {{- include "plaudit.labels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
annotations:
  plaudit/secret-checksum: {{ .root.Values.secrets.checksum | quote }}
  {{- with .root.Values.podAnnotations }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}

{{- define "plaudit.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "plaudit.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}
