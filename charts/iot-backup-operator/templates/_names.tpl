{{- define "iot-backup.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "iot-backup.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "iot-backup.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "iot-backup.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "iot-backup.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "iot-backup.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "iot-backup.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "iot-backup.selector" -}}
app.kubernetes.io/name: {{ include "iot-backup.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "iot-backup.labels" -}}
{{ include "iot-backup.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: iot-backup-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* A digest wins over a tag; without either it is the version the chart was made for. */ -}}
{{- define "iot-backup.image" -}}
{{- with .Values.image -}}
{{- $name := ternary (printf "%s/%s" .registry .repository) .repository (not (empty .registry)) -}}
{{- if .digest -}}
{{- printf "%s@%s" $name .digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Where the heartbeat is: a namespace that is watched, so that its echo comes through the same watches. */ -}}
{{- define "iot-backup.heartbeatNamespace" -}}
{{- $own := include "iot-backup.namespace" . -}}
{{- if or (not .Values.watchNamespaces) (has $own .Values.watchNamespaces) -}}{{ $own }}{{- else -}}{{ first .Values.watchNamespaces }}{{- end -}}
{{- end -}}

{{- /* What the operator does in a namespace it looks after: used by the ClusterRole and by each Role. */ -}}
{{- define "iot-backup.rules" -}}
- apiGroups: [backup.iot-system.io]
  resources: [backupstorages, backupjobs, backups, restorejobs]
  verbs: [list, watch]
- apiGroups: [backup.iot-system.io]
  resources: [backupstorages/status, backupjobs/status, backups/status, restorejobs/status]
  verbs: [patch]
# A run of a CronJob becomes a Backup.
- apiGroups: [backup.iot-system.io]
  resources: [backups]
  verbs: [get, create]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# A restore may make its claim.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create]
# The writer's key is made here, and never read here.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
# The heartbeat's echo.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, watch]
{{- end -}}
