{{/* What the operator's pods and the drain Job have in common. */}}

{{- define "birdwatch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Pod fields of both: identity, security, placement. */}}
{{- define "birdwatch.podBasics" -}}
serviceAccountName: {{ include "birdwatch.serviceAccountName" . }}
automountServiceAccountToken: true
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Container fields of both. */}}
{{- define "birdwatch.containerBasics" -}}
image: {{ include "birdwatch.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{/* Environment variables from a dict of names and values; those without a value keep the operator's default. */}}
{{- define "birdwatch.env" -}}
{{- range $name, $value := . }}
{{- with $value }}
- name: {{ $name }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What both need to find the cluster's objects and the Leases. */}}
{{- define "birdwatch.clusterEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- with .Values }}
{{- include "birdwatch.env" (dict
  "CLUSTER_DOMAIN" .clusterDomain
  "LEASE_DURATION" .leaseDuration
  "LEASE_NAME" (include "birdwatch.fullname" $)
  "LOG_FORMAT" .logFormat
  "PROPAGATION_DELAY" .propagationDelay
  "RUST_LOG" .logLevel
  "SHARDS" .shards
  "WATCH_NAMESPACES" (.namespaces | default list | uniq | join ",")
) }}
{{- end }}
{{- end }}
