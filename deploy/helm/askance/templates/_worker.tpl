{{/* Names and labels. */}}
{{- define "askance.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "askance.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .worker }}
{{- end }}

{{- define "askance.labels" -}}
{{ include "askance.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Seconds that a pod has to end: more than a batch under way has to be delivered. */}}
{{- define "askance.grace" -}}
{{- $delivery := divf (index .Values.config.kafka "rebalance.timeout.ms" | default 60000) 1000 | ceil | int -}}
{{- $grace := int (.Values.terminationGracePeriodSeconds | default (add $delivery 15)) -}}
{{- if le $grace $delivery -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but a batch has %d s to be delivered (kafka.rebalance.timeout.ms): raise it, or leave it out" $grace $delivery) -}}
{{- end -}}
{{- $grace -}}
{{- end }}

{{/*
One worker: a StatefulSet, because its pod's name is its Kafka static membership (group.instance.id): a pod that comes back
within the session timeout causes no rebalance.
Takes root, worker, replicas (nil: the autoscaler's), values (of the worker).
*/}}
{{- define "askance.worker" -}}
{{- $v := .root.Values -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "askance.name" .root }}-{{ .worker }}
  labels: {{- include "askance.labels" . | nindent 4 }}
spec:
  {{- if not (kindIs "invalid" .replicas) }}
  replicas: {{ .replicas }}
  {{- end }}
  serviceName: {{ include "askance.name" .root }}
  podManagementPolicy: Parallel
  selector:
    matchLabels: {{- include "askance.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "askance.labels" . | nindent 8 }}
      annotations:
        checksum/config: {{ toYaml $v.config | sha256sum }}
    spec:
      terminationGracePeriodSeconds: {{ include "askance.grace" .root }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with $v.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: {{ .worker }}
          image: "{{ $v.image.repository }}:{{ $v.image.tag | default .root.Chart.AppVersion }}"
          imagePullPolicy: {{ $v.image.pullPolicy }}
          args: [{{ .worker }}, --config, /etc/askance/askance.yaml]
          env:
            - name: ASKANCE_STATE
              value: /state
            - name: ASKANCE_REGISTRY
              value: {{ $v.registry.url | default "/registry" | quote }}
            - name: ASKANCE_METRICS__HOST
              value: 0.0.0.0
            - name: ASKANCE_METRICS__PORT
              value: {{ $v.metrics.port | quote }}
            - name: ASKANCE_KAFKA__GROUP__INSTANCE__ID
              valueFrom:
                fieldRef: {fieldPath: metadata.name}
          {{- $secrets := list $v.secrets.kafka $v.registry.secret -}}
          {{- if eq .worker "teach" }}{{- $secrets = append $secrets $v.secrets.teacher -}}{{- end }}
          {{- with compact $secrets }}
          envFrom:
            {{- range . }}
            - secretRef: {name: {{ . }}}
            {{- end }}
          {{- end }}
          ports:
            - {name: metrics, containerPort: {{ $v.metrics.port }}}
          livenessProbe:
            httpGet: {path: /healthz, port: metrics}
            initialDelaySeconds: 30
            periodSeconds: 15
            timeoutSeconds: 5
            failureThreshold: 4
          readinessProbe:
            httpGet: {path: /readyz, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
          resources: {{- toYaml .values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: config, mountPath: /etc/askance, readOnly: true}
            - {name: state, mountPath: /state}
            - {name: tmp, mountPath: /tmp}
            {{- if not $v.registry.url }}
            - {name: registry, mountPath: /registry, readOnly: {{ ne .worker "train" }}}
            {{- end }}
      volumes:
        - name: config
          configMap: {name: {{ include "askance.name" .root }}}
        - name: tmp
          emptyDir: {}
        {{- if not .values.size }}
        - name: state
          emptyDir: {}
        {{- end }}
        {{- if not $v.registry.url }}
        - name: registry
          persistentVolumeClaim: {claimName: {{ include "askance.name" .root }}-registry}
        {{- end }}
      {{- with $v.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- if .values.size }}
  volumeClaimTemplates:
    - metadata: {name: state}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .values.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ .values.size }}}
  {{- end }}
{{- end }}
