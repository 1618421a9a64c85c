{{- define "queue-processor.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "queue-processor.fullname" -}}
{{- $name := include "queue-processor.name" . -}}
{{- $joined := printf "%s-%s" .Release.Name $name -}}
{{- $own := ternary .Release.Name $joined (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $own | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "queue-processor.selectorLabels" -}}
app.kubernetes.io/name: {{ include "queue-processor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Of all objects, but in no selector: they change from version to version. */ -}}
{{- define "queue-processor.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "queue-processor.labels" -}}
{{ include "queue-processor.selectorLabels" . }}
{{ include "queue-processor.commonLabels" . }}
{{- end -}}

{{- define "queue-processor.metadata" -}}
name: {{ include "queue-processor.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "queue-processor.labels" . | nindent 2 }}
{{- end -}}

{{- define "queue-processor.watcherLabelName" -}}
{{- include "queue-processor.name" . | trunc 55 | trimSuffix "-" -}}-watcher
{{- end -}}

{{- define "queue-processor.watcherName" -}}
{{- include "queue-processor.fullname" . | trunc 55 | trimSuffix "-" -}}-watcher
{{- end -}}

{{- /* Not those of the operator, whose selectors must not select the watcher. */ -}}
{{- define "queue-processor.watcherSelectorLabels" -}}
app.kubernetes.io/name: {{ include "queue-processor.watcherLabelName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "queue-processor.watcherLabels" -}}
{{ include "queue-processor.watcherSelectorLabels" . }}
{{ include "queue-processor.commonLabels" . }}
{{- end -}}

{{- define "queue-processor.watcherMetadata" -}}
name: {{ include "queue-processor.watcherName" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "queue-processor.watcherLabels" . | nindent 2 }}
{{- end -}}

{{- define "queue-processor.watcherClusterMetadata" -}}
name: {{ include "queue-processor.clusterName" . }}-watcher
labels:
  {{- include "queue-processor.watcherLabels" . | nindent 2 }}
{{- end -}}

{{- /* Whether the operator reads the notices on Nodes. */ -}}
{{- define "queue-processor.readsNotices" -}}
{{- if dig "sources" "notices" "enabled" .Values.watcher.enabled .Values.settings -}}yes{{- end -}}
{{- end -}}

{{- /* The runbook of this version. */ -}}
{{- define "queue-processor.runbookUrl" -}}
{{- .Values.prometheusRule.runbookUrl | default (printf "%s/blob/v%s/docs/runbook.md" .Chart.Home .Chart.AppVersion) -}}
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

{{- /* Whether the operator only looks: it needs no permission to change anything. */ -}}
{{- define "queue-processor.observes" -}}
{{- if eq (dig "mode" "drain" .Values.settings) "observe" -}}yes{{- end -}}
{{- end -}}

{{- define "queue-processor.electsLeader" -}}
{{- if and (dig "leader_election" "enabled" true .Values.settings) (not (include "queue-processor.observes" .)) -}}yes{{- end -}}
{{- end -}}

{{- /* Whether several processes may run at a time. */ -}}
{{- define "queue-processor.mayOverlap" -}}
{{- if or (include "queue-processor.electsLeader" .) (include "queue-processor.observes" .) -}}yes{{- end -}}
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
{{- if and (gt (int .Values.replicas) 1) (not (include "queue-processor.mayOverlap" .)) -}}
{{- fail "replicas: more than 1 requires settings.leader_election.enabled, or each of them drains" -}}
{{- end -}}
{{- if .Values.watcher.enabled -}}
{{- include "queue-processor.watcherChecked" . -}}
{{- end -}}
{{- range $name, $_ := .Values.env -}}
{{- if hasPrefix "QUEUE_PROCESSOR_" $name -}}
{{- fail (printf "env.%s: not allowed here; a setting of the program belongs under `settings`" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "queue-processor.watcherChecked" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if and .Values.watcher.admissionPolicy.enabled (semverCompare "<1.30-0" $version) -}}
{{- fail (printf "watcher.admissionPolicy.enabled: the policy needs Kubernetes 1.30, and this is %s: update the cluster, or set it to false and accept that a stolen token of a watcher can patch every Node" $version) -}}
{{- end -}}
{{- /* Without a cluster, as in `helm template`, there is nothing to look at. */ -}}
{{- $labels := dig "metadata" "labels" (dict) (lookup "v1" "Namespace" "" .Release.Namespace) -}}
{{- $level := get $labels "pod-security.kubernetes.io/enforce" -}}
{{- if and .Values.watcher.hostNetwork (has $level (list "baseline" "restricted")) -}}
{{- fail (printf "watcher.hostNetwork: the namespace %s enforces the Pod Security level %q, which does not allow it: install into a namespace without it, such as kube-system, or set watcher.hostNetwork to false if HttpPutResponseHopLimit of the instances is 2 or more" .Release.Namespace $level) -}}
{{- end -}}
{{- end -}}

{{- /* For cluster-scoped objects: releases of the same name in two namespaces do not collide. */ -}}
{{- define "queue-processor.clusterName" -}}
{{- $name := include "queue-processor.fullname" . -}}
{{- ternary $name (printf "%s-%s" .Release.Namespace $name) (eq $name .Release.Namespace) -}}
{{- end -}}
