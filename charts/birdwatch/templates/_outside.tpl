{{/* How the operator reaches Slack and Prometheus: environment, files, volumes. */}}

{{/* The Secret with Slack's token, ours or the user's; empty without a token. */}}
{{- define "birdwatch.secretName" -}}
{{- if .Values.existingSecret -}}
{{ .Values.existingSecret }}
{{- else if .Values.slackToken -}}
{{ include "birdwatch.fullname" . }}
{{- end -}}
{{- end }}

{{/* The token as an environment variable: of (dict "root" $ "optional" true) for a pod that must start without it. */}}
{{- define "birdwatch.slackToken" -}}
{{- $values := .root.Values }}
{{- $optional := .optional }}
{{- with include "birdwatch.secretName" .root }}
- name: SLACK_API_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ empty $values.existingSecret | ternary "slackToken" $values.existingSecretKeys.slackToken }}
      {{- if $optional }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}

{{- define "birdwatch.slackEnv" -}}
{{- with .Values }}
{{- include "birdwatch.env" (dict
  "NOTIFY_LEVEL" .notifyLevel
  "SLACK_ALLOWED_CHANNELS" (.slackAllowedChannels | default list | join ",")
  "SLACK_CHANNEL" .slackChannel
  "SLACK_URL" .slackUrl
) }}
{{- end }}
{{- end }}

{{- define "birdwatch.defaultPrometheus" -}}
{{ .Values.prometheusUrl | default "http://prometheus.istio-system:9090" }}
{{- end }}

{{/* Not empty where the operator reads its servers from a file: an address alone says too little. */}}
{{- define "birdwatch.hasServersFile" -}}
{{- if or .Values.prometheus.servers .Values.prometheus.enforcedLabel }}yes{{ end -}}
{{- end }}

{{- define "birdwatch.prometheusEnv" -}}
{{- $file := include "birdwatch.hasServersFile" . }}
{{- include "birdwatch.env" (dict
  "PROMETHEUS_SERVERS_FILE" ($file | empty | ternary "" "/etc/birdwatch/prometheus/servers.yaml")
  "PROMETHEUS_URL" ($file | empty | ternary (include "birdwatch.defaultPrometheus" .) "")
  "SCRAPE_INTERVAL" .Values.scrapeInterval
) }}
{{- end }}

{{/* All servers as the operator reads them, the default one first. Credentials are named by file, never by value. */}}
{{- define "birdwatch.prometheusServers" -}}
{{- $enforced := .Values.prometheus.enforcedLabel }}
{{- if or .Values.prometheusUrl (empty .Values.prometheus.servers) }}
- name: default
  url: {{ include "birdwatch.defaultPrometheus" . | quote }}
  {{- with $enforced }}
  enforcedLabel: {{ . | quote }}
  {{- end }}
{{- end }}
{{- range .Values.prometheus.servers }}
{{- $files := printf "/etc/birdwatch/credentials/%s" .name }}
- name: {{ .name | quote }}
  url: {{ .url | quote }}
  {{- with .headers }}
  headers:
    {{- range $name, $value := . }}
    {{ $name | quote }}: {{ $value | quote }}
    {{- end }}
  {{- end }}
  {{- with .maxInFlight }}
  maxInFlight: {{ . }}
  {{- end }}
  {{- with hasKey . "enforcedLabel" | ternary .enforcedLabel $enforced }}
  enforcedLabel: {{ . | quote }}
  {{- end }}
  {{- with .bearerToken }}
  bearerTokenFile: {{ $files }}/token
  {{- end }}
  {{- with .basicAuth }}
  basicAuth:
    username: {{ .username | quote }}
    passwordFile: {{ $files }}/password
  {{- end }}
  {{- with .ca }}
  caFile: {{ $files }}/ca.crt
  {{- end }}
  {{- with .clientCert }}
  clientCertFile: {{ $files }}/tls.crt
  clientKeyFile: {{ $files }}/tls.key
  {{- end }}
{{- end }}
{{- end }}

{{/* The sources of one server's credentials; empty where it has none. */}}
{{- define "birdwatch.credentialSources" -}}
{{- with .bearerToken }}
- secret:
    name: {{ .secret }}
    items: [{key: {{ .key | default "token" | quote }}, path: token}]
{{- end }}
{{- with .basicAuth }}
- secret:
    name: {{ .secret }}
    items: [{key: {{ .key | default "password" | quote }}, path: password}]
{{- end }}
{{- with .clientCert }}
- secret:
    name: {{ .secret }}
    items:
      - {key: {{ .certKey | default "tls.crt" | quote }}, path: tls.crt}
      - {key: {{ .keyKey | default "tls.key" | quote }}, path: tls.key}
{{- end }}
{{- with .ca }}
- {{ empty .secret | ternary "configMap" "secret" }}:
    name: {{ .secret | default .configMap }}
    items: [{key: {{ .key | default "ca.crt" | quote }}, path: ca.crt}]
{{- end }}
{{- end }}

{{- define "birdwatch.volumes" -}}
{{- if include "birdwatch.hasServersFile" . }}
- name: prometheus
  configMap:
    name: {{ include "birdwatch.fullname" . }}-prometheus
{{- end }}
{{- range $server := .Values.prometheus.servers }}
{{- with include "birdwatch.credentialSources" $server | trim }}
- name: credentials-{{ $server.name }}
  projected:
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- end }}
{{- include "birdwatch.caVolume" (dict "root" .) }}
{{- end }}

{{- define "birdwatch.volumeMounts" -}}
{{- if include "birdwatch.hasServersFile" . }}
- {name: prometheus, mountPath: /etc/birdwatch/prometheus, readOnly: true}
{{- end }}
{{- range .Values.prometheus.servers }}
{{- if include "birdwatch.credentialSources" . | trim }}
- {name: credentials-{{ .name }}, mountPath: /etc/birdwatch/credentials/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- include "birdwatch.caMount" . }}
{{- end }}

{{/* Extra certificate authorities, which whoever calls Slack or Prometheus needs. */}}
{{- define "birdwatch.caEnv" -}}
{{- if or .Values.caFile.configMap .Values.caFile.secret }}
{{- include "birdwatch.env" (dict "CA_FILE" "/etc/birdwatch/ca/ca.crt") }}
{{- end }}
{{- end }}

{{- define "birdwatch.caVolume" }}
{{- $optional := .optional }}
{{- with .root.Values.caFile }}
{{- if or .secret .configMap }}
- name: ca
  {{ empty .secret | ternary "configMap" "secret" }}:
    {{ empty .secret | ternary "name" "secretName" }}: {{ .secret | default .configMap }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
    {{- if $optional }}
    optional: true
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "birdwatch.caMount" }}
{{- if or .Values.caFile.configMap .Values.caFile.secret }}
- {name: ca, mountPath: /etc/birdwatch/ca, readOnly: true}
{{- end }}
{{- end }}
