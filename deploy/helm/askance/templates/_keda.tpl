{{/*
How KEDA logs in to the brokers, as JSON: `metadata` of each trigger, `name` of the TriggerAuthentication (or ""), and
whether it `isOurs`. It reads no files, so an authority or a certificate of one's own needs a TriggerAuthentication of
one's own, and so does a token.
*/}}
{{- define "askance.keda" -}}
{{- $kafka := .Values.config.kafka -}}
{{- $protocol := index $kafka "security.protocol" | default "PLAINTEXT" -}}
{{- $mechanism := index $kafka "sasl.mechanism" | default "PLAIN" -}}
{{- $theirs := .Values.classify.keda.triggerAuthentication -}}
{{- $metadata := dict -}}
{{- if hasSuffix "SSL" $protocol -}}
{{- $_ := set $metadata "tls" "enable" -}}
{{- range $key := list "ssl.ca.location" "ssl.certificate.location" -}}
{{- if and (index $kafka $key) (not $theirs) -}}
{{- fail (printf "KEDA cannot read %s: make a TriggerAuthentication with it and name it in classify.keda.triggerAuthentication" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $isOurs := and (hasPrefix "SASL" $protocol) (not $theirs) -}}
{{- if hasPrefix "SASL" $protocol -}}
{{- $modes := dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer" -}}
{{- $_ := set $metadata "sasl" (get $modes $mechanism) -}}
{{- end -}}
{{- if and $isOurs (eq $mechanism "OAUTHBEARER") -}}
{{- fail "KEDA cannot use KAFKA_SASL_TOKEN: make a TriggerAuthentication for it and name it in classify.keda.triggerAuthentication" -}}
{{- end -}}
{{- if and $isOurs (not (and .Values.secrets.kafka (index $kafka "sasl.username"))) -}}
{{- fail (printf "KEDA cannot log in with %s: name config.kafka.sasl.username, and in secrets.kafka a secret with KAFKA_SASL_PASSWORD" $protocol) -}}
{{- end -}}
{{- $ours := ternary (printf "%s-classify" (include "askance.name" .)) "" $isOurs -}}
{{- dict "metadata" $metadata "name" ($theirs | default $ours) "isOurs" $isOurs | toJson -}}
{{- end }}
