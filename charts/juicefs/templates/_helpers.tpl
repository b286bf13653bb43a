{{- define "juicefs.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "juicefs.labels" -}}
app.kubernetes.io/part-of: juicefs
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Namespaces with Secrets: the release's own and those of the value, each once. */}}
{{- define "juicefs.secretNamespaces" -}}
{{ prepend .Values.secretNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}

{{/* Rights of a container that needs none. */}}
{{- define "juicefs.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
