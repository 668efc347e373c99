{{- define "weft.labels" -}}
app.kubernetes.io/part-of: weft
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "weft.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
{{- define "weft.carrierImage" -}}
{{- $image := .Values.carrier.image -}}
{{- $repository := $image.repository | default (printf "%s-carrier" .Values.image.repository) -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .Values.carrier.version }}
{{- end -}}
{{- end }}
{{- define "weft.waypoint" -}}
{{- $image := dict "image" (include "weft.image" .) "imagePullPolicy" .Values.image.pullPolicy "imagePullSecrets" .Values.imagePullSecrets "metricsTokenSecret" .Values.monitoring.tokenSecret "rateLimiter" (ternary (printf "weft-rate-limiter.%s.svc:15013" .Release.Namespace) "" .Values.rateLimiter.enabled) -}}
{{- $otlp := list -}}
{{- range $flag, $url := dict "--otlp-endpoint" .Values.otlp.traces "--otlp-metrics-endpoint" .Values.otlp.metrics "--otlp-logs-endpoint" .Values.otlp.logs -}}
{{- if $url }}{{ $otlp = append $otlp (printf "%s=%s" $flag $url) }}{{ end -}}
{{- end -}}
{{ merge $image (dict "extraArgs" (concat $otlp .Values.waypoint.extraArgs)) .Values.waypoint | toJson }}
{{- end }}
