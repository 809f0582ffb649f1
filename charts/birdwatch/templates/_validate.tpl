{{/*
What values.schema.json cannot say well: formats and rules between values, in words. The schema has checked types and
names before. All problems are reported at once.
*/}}

{{- define "birdwatch.validate" -}}
{{- $problems := list -}}
{{- range list "slack" "prometheus" "credentials" "release" "operator" -}}
{{- range include (printf "birdwatch.problems.%s" .) $ | fromYamlArray -}}
{{- $problems = append $problems . -}}
{{- end -}}
{{- end -}}
{{- with $problems -}}
{{- fail (printf "\n\nThese values need a change:\n- %s\n" (join "\n- " .)) -}}
{{- end -}}
{{- end }}

{{/* A problem line, where VALUE is not empty and does not match PATTERN. Takes (list path value pattern advice). */}}
{{- define "birdwatch.mustMatch" -}}
{{- $value := index . 1 | default "" | toString -}}
{{- if and $value (not (regexMatch (index . 2) $value)) }}
- {{ printf "%s: %q %s" (index . 0) $value (index . 3) | toJson }}
{{- end }}
{{- end }}

{{- define "birdwatch.mustBeUrl" -}}
{{- include "birdwatch.mustMatch" (list (index . 0) (index . 1) "^https?://[^\\s/@?#]+(/[^\\s?#]*)?$" "is not the base URL of a server; write for example http://prometheus.monitoring:9090, without user, password, query or fragment") }}
{{- end }}

{{/*
A problem line, where a VALUE is given that is no duration or lies outside LOW and HIGH, in milliseconds: the operator's
own ranges, or its pods would not start. Takes (list path value low high range), the range in words.
*/}}
{{- define "birdwatch.mustBeDuration" -}}
{{- $value := index . 1 -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $text := toString $value -}}
{{- $last := "[0-9]+([.][0-9]+)?" -}}
{{- $form := printf "^([0-9]+|%[1]sh|([0-9]+h)?%[1]sm|([0-9]+h)?([0-9]+m)?%[1]ss|([0-9]+h)?([0-9]+m)?([0-9]+s)?%[1]sms)$" $last -}}
{{- if not (regexMatch $form $text) }}
- {{ printf "%s: %q is not a duration; write one from %s, for example 15s or 1m30s; a bare number is seconds" (index . 0) $text (index . 4) | toJson }}
{{- else if include "birdwatch.isOutside" (list $text (index . 2) (index . 3)) }}
- {{ printf "%s: %q is out of range; write a duration from %s" (index . 0) $text (index . 4) | toJson }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not empty, where a duration is less than LOW or more than HIGH milliseconds. Takes (list text low high). */}}
{{- define "birdwatch.isOutside" -}}
{{- $units := dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1 "" 1000 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9.]+[hms]*" (index . 0) -1 -}}
{{- $number := regexFind "[0-9.]+" . -}}
{{- $total = addf $total (mulf $number (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- if or (lt $total (float64 (index . 1))) (gt $total (float64 (index . 2))) }}outside{{ end -}}
{{- end }}

{{- define "birdwatch.mustBeName" -}}
{{- include "birdwatch.mustMatch" (list (index . 0) (index . 1) "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" "is not a name Kubernetes accepts: lower-case letters, digits, - and .") }}
{{- end }}

{{- define "birdwatch.mustBeLabel" -}}
{{- include "birdwatch.mustMatch" (list (index . 0) (index . 1) "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" "is not a DNS label: at most 63 lower-case letters, digits and -") }}
{{- end }}

{{- define "birdwatch.mustBeLabelName" -}}
{{- include "birdwatch.mustMatch" (list (index . 0) (index . 1) "^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*$" "is not the name of a Prometheus label: letters, digits and _, not __name__") }}
{{- end }}

{{- define "birdwatch.problems.slack" -}}
{{- with .Values }}
{{- if and .slackToken .existingSecret }}
- "slackToken and existingSecret: give one of them"
{{- end }}
{{- if and .slackToken (regexMatch "\\s" .slackToken) }}
- "slackToken: it contains white space; was more than the token copied?"
{{- end }}
{{- include "birdwatch.mustBeName" (list "existingSecret" .existingSecret) }}
{{- include "birdwatch.mustMatch" (list "existingSecretKeys.slackToken" .existingSecretKeys.slackToken "^[-._a-zA-Z0-9]{1,253}$" "is not a key a Secret can have: letters, digits, -, _ and .") }}
{{- include "birdwatch.mustMatch" (list "slackChannel" .slackChannel "^#?[^\\s,#@]{1,80}$" "is not a channel; write its ID (C0123456789) or its name") }}
{{- range $i, $channel := .slackAllowedChannels }}
{{- include "birdwatch.mustMatch" (list (printf "slackAllowedChannels[%d]" $i) $channel "^#?[^\\s,#@]{1,80}$" "is not a channel; write its ID (C0123456789), its name, or * for any") }}
{{- end }}
{{- include "birdwatch.mustBeUrl" (list "slackUrl" .slackUrl) }}
{{- end }}
{{- end }}

{{- define "birdwatch.problems.prometheus" -}}
{{- include "birdwatch.mustBeUrl" (list "prometheusUrl" .Values.prometheusUrl) }}
{{- include "birdwatch.mustBeLabelName" (list "prometheus.enforcedLabel" .Values.prometheus.enforcedLabel) }}
{{- $names := empty .Values.prometheusUrl | ternary list (list "default") }}
{{- range $i, $server := .Values.prometheus.servers }}
{{- $at := printf "prometheus.servers[%d]" $i }}
{{- include "birdwatch.mustMatch" (list (printf "%s.name" $at) .name "^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$" "is not a name for a server: at most 50 lower-case letters, digits and -") }}
{{- include "birdwatch.mustBeUrl" (list (printf "%s.url" $at) .url) }}
{{- include "birdwatch.mustBeLabelName" (list (printf "%s.enforcedLabel" $at) .enforcedLabel) }}
{{- if has .name $names }}
- {{ printf "%s.name: %q is taken%s" $at .name (eq .name "default" | ternary "; it is the name of prometheusUrl" "") | toJson }}
{{- end }}
{{- $names = append $names .name }}
{{- if and .bearerToken .basicAuth }}
- "{{ $at }}: give one of bearerToken and basicAuth"
{{- end }}
{{- range $name, $value := .headers }}
{{- if eq (lower $name) "authorization" }}
- "{{ $at }}.headers: a credential does not belong here; use bearerToken or basicAuth with a Secret"
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "birdwatch.problems.credentials" -}}
{{- range $i, $server := .Values.prometheus.servers }}
{{- $at := printf "prometheus.servers[%d]" $i }}
{{- range $field := list "bearerToken" "basicAuth" "clientCert" "ca" }}
{{- with get $server $field }}
{{- include "birdwatch.mustBeName" (list (printf "%s.%s.secret" $at $field) (.secret | default "")) }}
{{- include "birdwatch.mustBeName" (list (printf "%s.%s.configMap" $at $field) (.configMap | default "")) }}
{{- end }}
{{- end }}
{{- with $server.ca }}
{{- if eq (empty .secret) (empty .configMap) }}
- "{{ $at }}.ca: give one of configMap and secret"
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.caFile }}
{{- if and .secret .configMap }}
- "caFile: give one of configMap and secret"
{{- end }}
{{- include "birdwatch.mustBeName" (list "caFile.secret" .secret) }}
{{- include "birdwatch.mustBeName" (list "caFile.configMap" .configMap) }}
{{- end }}
{{- end }}

{{- define "birdwatch.problems.release" -}}
{{- range $i, $namespace := .Values.namespaces }}
{{- include "birdwatch.mustBeLabel" (list (printf "namespaces[%d]" $i) $namespace) }}
{{- end }}
{{- include "birdwatch.mustBeLabel" (list "grafanaDashboard.namespace" .Values.grafanaDashboard.namespace) }}
{{- include "birdwatch.mustBeDuration" (list "scrapeInterval" .Values.scrapeInterval 100 3600000 "100ms to 3600s") }}
{{- include "birdwatch.mustBeDuration" (list "propagationDelay" .Values.propagationDelay 100 600000 "100ms to 600s") }}
{{- include "birdwatch.mustBeDuration" (list "leaseDuration" .Values.leaseDuration 2000 600000 "2s to 600s") }}
{{- include "birdwatch.mustMatch" (list "clusterDomain" .Values.clusterDomain "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" "is not a DNS domain; most clusters have cluster.local") }}
{{- end }}

{{- define "birdwatch.problems.operator" -}}
{{- with .Values }}
{{- if not (or .serviceAccount.create .serviceAccount.name) }}
- "serviceAccount.name: needed where serviceAccount.create is false"
{{- end }}
{{- include "birdwatch.mustBeName" (list "serviceAccount.name" .serviceAccount.name) }}
{{- include "birdwatch.mustMatch" (list "logLevel" .logLevel "^[-a-zA-Z0-9_:=,.*\\[\\]{}]+$" "is not a log filter; write for example info or info,birdwatch=debug") }}
{{- include "birdwatch.mustMatch" (list "image.tag" .image.tag "^[a-zA-Z0-9_][-.a-zA-Z0-9_]{0,127}(@sha256:[0-9a-f]{64})?$" "is not a tag; a digest follows the tag: 0.1.0@sha256:...") }}
{{- range .extraEnv }}
{{- if and (eq .name "SLACK_API_TOKEN") .value }}
- "extraEnv: SLACK_API_TOKEN would be readable in the Deployment; use slackToken or existingSecret"
{{- end }}
{{- end }}
{{- end }}
{{- end }}
