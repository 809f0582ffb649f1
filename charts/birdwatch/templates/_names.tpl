{{/* Names and labels. Selector labels never change between releases: a Deployment's selector cannot. */}}

{{- define "birdwatch.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of everything in the release; 52 characters, for a Job adds up to 11 to its pods' names. */}}
{{- define "birdwatch.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "birdwatch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "birdwatch.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* What every pod of the release carries: operator and drain. */}}
{{- define "birdwatch.releaseLabels" -}}
app.kubernetes.io/name: {{ include "birdwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What only the operator's pods carry. */}}
{{- define "birdwatch.selectorLabels" -}}
{{ include "birdwatch.releaseLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "birdwatch.commonLabels" -}}
{{ include "birdwatch.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: birdwatch
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "birdwatch.labels" -}}
{{ include "birdwatch.commonLabels" . }}
app.kubernetes.io/component: operator
{{- end }}
