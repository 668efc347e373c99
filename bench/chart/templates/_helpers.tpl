{{- define "bench.labels" -}}
app.kubernetes.io/name: weft-bench
app.kubernetes.io/part-of: weft-bench
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Labels of a pod: (list root role). */}}
{{- define "bench.podLabels" -}}
app: {{ index . 1 }}
{{ include "bench.labels" (index . 0) }}
{{- with (index . 0).Values.pods.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What the pods of both ends have in common: (list root node role). */}}
{{- define "bench.pod" -}}
{{- $root := index . 0 }}
{{- $role := index . 2 }}
automountServiceAccountToken: false
serviceAccountName: {{ $role }}
enableServiceLinks: false
# The meter tells proxies' and programs' CPU time apart by their processes.
shareProcessNamespace: true
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      # By name: the label kubernetes.io/hostname may say something else.
      nodeSelectorTerms: [{ matchFields: [{ key: metadata.name, operator: In, values: [{{ index . 1 | quote }}] }] }]
{{- end }}

{{- define "bench.securityContext" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "bench.image" -}}
image: {{ .Values.image.name | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- /*
Injection, as init containers of a pod: (list root role). First the redirection, then Envoy as a sidecar container, which
starts before the pod's own containers and does not keep a Job from ending.
*/}}
{{- define "bench.sidecar" -}}
{{- $root := index . 0 }}
{{- with $root.Values.sidecar }}
- name: redirect
  {{- include "bench.image" $root | nindent 2 }}
  command: [sh, -c, iptables-restore --noflush < /etc/bench/redirect/rules]
  resources:
    requests: { cpu: 10m, memory: 16Mi }
    limits: { memory: 64Mi }
  # The one container that is root, with the one capability that it takes to write rules of its own pod's network.
  securityContext:
    runAsUser: 0
    runAsGroup: 0
    runAsNonRoot: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL], add: [NET_ADMIN, NET_RAW] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    - { name: redirect, mountPath: /etc/bench/redirect, readOnly: true }
    - { name: run, mountPath: /run }
- name: envoy
  {{- include "bench.image" $root | nindent 2 }}
  restartPolicy: Always
  command:
    - envoy
    - --config-path
    - /etc/bench/envoy/envoy.json
    - --concurrency
    - {{ .concurrency | quote }}
    - --disable-hot-restart
    - --log-level
    - warning
  # Its administration is on the pod's localhost alone, where no kubelet's request comes from.
  startupProbe:
    exec:
      command:
        - node
        - -e
        - >-
          fetch('http://127.0.0.1:15000/ready').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 60
  resources: {{- toYaml .resources | nindent 4 }}
  {{- include "bench.securityContext" .user | nindent 2 }}
  volumeMounts:
    - { name: envoy, mountPath: /etc/bench/envoy, readOnly: true }
    - { name: certificates, mountPath: /etc/bench/certificates, readOnly: true }
{{- end }}
{{- end }}

{{- /* (list root role) */}}
{{- define "bench.volumes" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
# iperf3 keeps what it sends in a file there.
- { name: tmp, emptyDir: { medium: Memory, sizeLimit: 64Mi } }
{{- if $root.Values.sidecar.enabled }}
# The lock of iptables.
- { name: run, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
- { name: redirect, configMap: { name: redirect } }
- { name: envoy, configMap: { name: envoy-{{ $role }} } }
- { name: certificates, secret: { secretName: certificates-{{ $role }}, defaultMode: 0440 } }
{{- end }}
{{- end }}
