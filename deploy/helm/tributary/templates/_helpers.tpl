{{- define "tributary.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tributary.nodes" -}}
{{ include "tributary.name" . }}-nodes
{{- end -}}

{{- define "tributary.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tributary.labels" -}}
{{ include "tributary.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "tributary.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "tributary.scheme" -}}
{{ if .Values.tls.secretName }}https{{ else }}http{{ end }}
{{- end -}}

{{/* Name of the secret that holds the master key; empty if the server makes the key itself. */}}
{{- define "tributary.masterKeySecret" -}}
{{- if .Values.masterKey.secret.name -}}
{{- .Values.masterKey.secret.name -}}
{{- else if .Values.secret.masterKey -}}
{{- include "tributary.name" . -}}
{{- end -}}
{{- end -}}

{{/* Name of the secret that holds the password of the log; empty if it needs none. */}}
{{- define "tributary.passwordSecret" -}}
{{- if .Values.log.passwordSecret.name -}}
{{- .Values.log.passwordSecret.name -}}
{{- else if .Values.secret.logPassword -}}
{{- include "tributary.name" . -}}
{{- end -}}
{{- end -}}

{{/* What can't work is refused before anything is installed. */}}
{{- define "tributary.check" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.log.url) -}}
{{- fail "replicas > 1 needs log.url: nodes of a cluster share a log. Set replicas to 1 for one server without a cluster." -}}
{{- end -}}
{{- if and .Values.log.url (not (include "tributary.masterKeySecret" .)) -}}
{{- fail "a cluster needs one master key for all nodes: set masterKey.secret.name or secret.masterKey (openssl rand -hex 32)." -}}
{{- end -}}
{{- end -}}

{{/* Environment of every container. */}}
{{- define "tributary.environment" -}}
- name: TRIBUTARY_DATA
  value: /var/lib/tributary/data
- name: TRIBUTARY_LISTEN
  value: "{{ .Values.listenAddress }}:8080"
{{- if .Values.grpc.enabled }}
- name: TRIBUTARY_GRPC_LISTEN
  value: "{{ .Values.listenAddress }}:8081"
{{- end }}
{{- if include "tributary.masterKeySecret" . }}
- name: TRIBUTARY_MASTER_KEY_FILE
  value: /etc/tributary/master-key/{{ empty .Values.masterKey.secret.name | ternary "master.key" .Values.masterKey.secret.key }}
{{- end }}
{{- if .Values.tls.secretName }}
- name: TRIBUTARY_TLS_CERTIFICATE
  value: /etc/tributary/tls/tls.crt
- name: TRIBUTARY_TLS_KEY
  value: /etc/tributary/tls/tls.key
{{- end }}
{{- if .Values.log.url }}
- name: TRIBUTARY_CLUSTER_LOG
  value: {{ .Values.log.url | quote }}
- name: TRIBUTARY_CLUSTER_NODE
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: TRIBUTARY_CLUSTER_URL
  value: {{ include "tributary.scheme" . }}://$(TRIBUTARY_CLUSTER_NODE).{{ include "tributary.nodes" . }}.{{ .Release.Namespace }}.svc:8080
{{- if .Values.grpc.enabled }}
- name: TRIBUTARY_CLUSTER_GRPC_URL
  value: {{ include "tributary.scheme" . }}://$(TRIBUTARY_CLUSTER_NODE).{{ include "tributary.nodes" . }}.{{ .Release.Namespace }}.svc:8081
{{- end }}
{{- if include "tributary.passwordSecret" . }}
- name: TRIBUTARY_CLUSTER_PASSWORD_FILE
  value: /etc/tributary/log-password/{{ empty .Values.log.passwordSecret.name | ternary "log-password" .Values.log.passwordSecret.key }}
{{- end }}
{{- if .Values.log.caSecret.name }}
- name: TRIBUTARY_CLUSTER_CA_FILE
  value: /etc/tributary/log-ca/{{ .Values.log.caSecret.key }}
{{- end }}
{{- if and .Values.tls.secretName .Values.tls.ca }}
- name: TRIBUTARY_CLUSTER_PEER_CA_FILE
  value: /etc/tributary/tls/{{ .Values.tls.ca }}
{{- end }}
{{- if .Values.log.allowSingleCopy }}
- name: TRIBUTARY_CLUSTER_ALLOW_SINGLE_COPY
  value: "true"
{{- end }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Folders of every container. The configuration is not among them: it is made after the log. */}}
{{- define "tributary.mounts" -}}
- {name: data, mountPath: /var/lib/tributary}
{{- if include "tributary.masterKeySecret" . }}
- {name: master-key, mountPath: /etc/tributary/master-key, readOnly: true}
{{- end }}
{{- if and .Values.log.url (include "tributary.passwordSecret" .) }}
- {name: log-password, mountPath: /etc/tributary/log-password, readOnly: true}
{{- end }}
{{- if and .Values.log.url .Values.log.caSecret.name }}
- {name: log-ca, mountPath: /etc/tributary/log-ca, readOnly: true}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: tls, mountPath: /etc/tributary/tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "tributary.volumes" -}}
{{- with include "tributary.masterKeySecret" . }}
- name: master-key
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if and .Values.log.url (include "tributary.passwordSecret" .) }}
- name: log-password
  secret: {secretName: {{ include "tributary.passwordSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if and .Values.log.url .Values.log.caSecret.name }}
- name: log-ca
  secret: {secretName: {{ .Values.log.caSecret.name }}}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{/* Settings of every pod: not root, no rights of Kubernetes, and no variables for services, whose names begin with TRIBUTARY_ too. */}}
{{- define "tributary.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
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
{{- end -}}

{{- define "tributary.container" -}}
image: {{ include "tributary.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}
