{{/* At most 55 of the 63 characters that Kubernetes accepts: the Service of the metrics appends eight. */}}
{{- define "pastiche.name" -}}
{{- if contains "pastiche" .Release.Name }}{{ .Release.Name | trunc 55 | trimSuffix "-" }}{{ else }}{{ printf "%s-pastiche" .Release.Name | trunc 55 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* A value as the service reads it: Helm has the numbers of files as floats, and writes large ones as 5e+07. */}}
{{- define "pastiche.text" -}}
{{- if kindIs "float64" . }}{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- define "pastiche.selector" -}}
app.kubernetes.io/name: pastiche
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pastiche.labels" -}}
{{ include "pastiche.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The setting `stores`: a later one hides models of the same name. */}}
{{- define "pastiche.stores" -}}
{{- $stores := list }}
{{- if .Values.models.shipped }}{{ $stores = append $stores "shipped" }}{{ end }}
{{- if .Values.models.claim }}{{ $stores = append $stores "/models" }}{{ end }}
{{- if .Values.models.url }}{{ $stores = append $stores .Values.models.url }}{{ end }}
{{- join ":" $stores }}
{{- end }}

{{/* The requested processors, or as Kubernetes has it their limit; empty where there is neither. */}}
{{- define "pastiche.cpu" -}}
{{- $resources := default dict .Values.resources }}
{{- coalesce (default dict $resources.requests).cpu (default dict $resources.limits).cpu | default "" }}
{{- end }}

{{/* The requested processors, rounded up as Kubernetes does, divided among the serving processes: one or more. */}}
{{- define "pastiche.cpusOfEach" -}}
{{- $cpu := include "pastiche.cpu" . | default "1" }}
{{- $whole := ternary (divf (trimSuffix "m" $cpu) 1000) (float64 $cpu) (hasSuffix "m" $cpu) | ceil | int }}
{{- max 1 (div $whole (int (default 1 (default dict .Values.settings).processes))) }}
{{- end }}
