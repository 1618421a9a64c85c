{{- define "queue-processor.fullname" -}}
{{- $joined := printf "%s-%s" .Release.Name .Chart.Name -}}
{{- $own := ternary .Release.Name $joined (contains .Chart.Name .Release.Name) -}}
{{- .Values.fullnameOverride | default $own | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "queue-processor.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "queue-processor.labels" -}}
{{ include "queue-processor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "queue-processor.metadata" -}}
name: {{ include "queue-processor.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "queue-processor.labels" . | nindent 2 }}
{{- end -}}

{{- define "queue-processor.account" -}}
{{- .Values.serviceAccount.name | default (include "queue-processor.fullname" .) -}}
{{- end -}}

{{- define "queue-processor.leaseName" -}}
{{- dig "leader_election" "lease_name" (include "queue-processor.fullname" .) .Values.settings -}}
{{- end -}}

{{- define "queue-processor.leaseNamespace" -}}
{{- dig "leader_election" "namespace" .Release.Namespace .Values.settings -}}
{{- end -}}

{{- define "queue-processor.electsLeader" -}}
{{- if dig "leader_election" "enabled" true .Values.settings -}}yes{{- end -}}
{{- end -}}

{{- /* The port of http.bind, HOST:PORT. */ -}}
{{- define "queue-processor.port" -}}
{{- $bind := dig "http" "bind" ":8080" .Values.settings -}}
{{- $port := $bind | splitList ":" | last | int -}}
{{- if not $port -}}
{{- fail (printf "settings.http.bind: %q is not allowed: a pod needs a fixed port" $bind) -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{- define "queue-processor.image" -}}
{{- $repository := required "image.repository: not set; no image is published, so build one (docs/install.md) and set its repository" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* The Region in https://sqs.REGION.amazonaws.com/ACCOUNT/NAME; empty for any other URL. */ -}}
{{- define "queue-processor.region" -}}
{{- regexFind "^https://sqs\\.[a-z0-9-]+\\.amazonaws\\.com(\\.cn)?/" (.Values.settings.queue_url | default "") | trimPrefix "https://sqs." | splitList "." | first -}}
{{- end -}}

{{- /* Fails for combinations of values that cannot work; included once. */ -}}
{{- define "queue-processor.checked" -}}
{{- if and (gt (int .Values.replicas) 1) (not (include "queue-processor.electsLeader" .)) -}}
{{- fail "replicas: more than 1 requires settings.leader_election.enabled, or each of them drains" -}}
{{- end -}}
{{- range $name, $_ := .Values.env -}}
{{- if hasPrefix "QUEUE_PROCESSOR_" $name -}}
{{- fail (printf "env.%s: not allowed here; a setting of the program belongs under `settings`" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* For cluster-scoped objects: releases of the same name in two namespaces do not collide. */ -}}
{{- define "queue-processor.clusterName" -}}
{{- $name := include "queue-processor.fullname" . -}}
{{- ternary $name (printf "%s-%s" .Release.Namespace $name) (eq $name .Release.Namespace) -}}
{{- end -}}
