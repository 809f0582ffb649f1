{{/* What releasing needs, in every watched namespace: all of it is used, and nothing more. */}}
{{- define "birdwatch.rules.release" -}}
- apiGroups: [otomato.link]
  resources: [birdwatches]
  verbs: [get, list, watch, patch] # patch: the finalizer
- apiGroups: [otomato.link]
  resources: [birdwatches/status]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch] # get: once before production's label
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [get, list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
