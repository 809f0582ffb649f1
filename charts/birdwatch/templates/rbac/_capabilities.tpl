{{/*
The operator's rules in every watched namespace, one set for each capability that the values turn on. A capability is a
value, a file _<capability>.tpl beside this one that defines "birdwatch.rules.<capability>", and an entry here.
*/}}
{{- define "birdwatch.capabilities" -}}
{{- $on := list "release" -}}
{{ toJson $on }}
{{- end }}

{{- define "birdwatch.rules" -}}
{{- range include "birdwatch.capabilities" . | fromJsonArray }}
{{ include (printf "birdwatch.rules.%s" .) $ }}
{{- end }}
{{- end }}
