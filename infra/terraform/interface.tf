# `make manifests` generates this file from ../cloudformation/queue-processor.yaml.

variable "name" {
  description = "The name of the stack."
  type        = string
  default     = "queue-processor"
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation copies to its resources."
  type        = map(string)
  default     = {}
}

variable "workload_identity" {
  description = "pod-identity: EKS Pod Identity. irsa: IAM roles for service accounts. none: no role; attach the policy of the output OperatorPolicyArn to your own identity."
  type        = string
  default     = "pod-identity"

  validation {
    condition     = contains(["pod-identity", "irsa", "none"], var.workload_identity)
    error_message = "Must be one of pod-identity, irsa, none."
  }
}

variable "oidc_provider_arn" {
  description = "With irsa: the ARN of the cluster's OIDC provider in IAM, arn:aws:iam::...:oidc-provider/..."
  type        = string
  default     = ""
}

variable "cluster_name" {
  description = "With pod-identity: the name of the EKS cluster."
  type        = string
  default     = ""
}

variable "service_account_namespace" {
  description = "The Kubernetes namespace that queue-processor runs in."
  type        = string
  default     = "queue-processor"
}

variable "service_account_name" {
  description = "The Kubernetes ServiceAccount that queue-processor runs as."
  type        = string
  default     = "queue-processor"
}

variable "use_managed_tag" {
  description = "true if the setting managed_tag is used: the program then reads the tags of instances."
  type        = bool
  default     = false
}

variable "auto_scaling_group_pattern" {
  description = "The program is allowed to complete the lifecycle actions of these groups. * matches any characters: eks-* matches all EKS managed node groups."
  type        = string
  default     = "*"
}

variable "auto_scaling_group_names" {
  description = "For an account with several clusters: the Auto Scaling groups of this cluster. Only their lifecycle actions reach the queue. Empty: those of all groups."
  type        = list(string)
  default     = []
}

variable "event_accounts" {
  description = "The accounts whose events the rules match, for an event bus that gets those of several. The setting sources.sqs.accounts must list the same. Empty: the account of the stack."
  type        = string
  default     = ""
}

variable "replay_principal_arns" {
  description = "ARNs of the roles or users that can assume the role to read and replay messages. Empty: the role is not created."
  type        = list(string)
  default     = []
}

variable "drill_source" {
  description = "A source, such as drill, whose events on the default bus are sent to the queue, and which the replay role can use. Anyone who can put events with this source can have nodes drained. Empty: no rule is created; drills are sent to the queue directly."
  type        = string
  default     = ""
}

variable "sender_arns" {
  description = "ARNs of the roles or users that are not denied to send to the queue: the role of lifecycle hooks whose notification target is the queue itself. They need permissions of their own. A sender can have any node drained. Empty: only the rules, the topic and the replay role can send."
  type        = list(string)
  default     = []
}

variable "create_notification_topic" {
  description = "true creates an SNS topic for lifecycle hooks, and the role that allows them to publish. Only required if others subscribe to the notifications, too: EventBridge delivers them already."
  type        = bool
  default     = false
}

variable "create_observer_queue" {
  description = "true creates a second queue, to which the rules send a copy of each event, for a second queue-processor with the setting mode observe; and its role, for the service account with the name of the first one and -observer. The role can change nothing but that queue."
  type        = bool
  default     = false
}

variable "queue_name_prefix" {
  description = "The prefix of the names of the queues. Empty: CloudFormation generates the names."
  type        = string
  default     = ""
}

variable "encryption_key" {
  description = "The encryption of the queues. Empty: keys managed by SQS. new: a KMS key of this stack. The ARN of your own KMS key: its policy must allow events.amazonaws.com (and sns.amazonaws.com) kms:GenerateDataKey and kms:Decrypt."
  type        = string
  default     = ""
}

variable "oldest_message_seconds" {
  description = "The age of the oldest waiting message, in seconds, that raises the alarm."
  type        = number
  default     = 60
}

variable "alarm_topic_arn" {
  description = "The SNS topic that the alarms notify. Empty: alarms are in CloudWatch only."
  type        = string
  default     = ""
}

locals {
  parameters = {
    WorkloadIdentity        = tostring(var.workload_identity)
    OidcProviderArn         = tostring(var.oidc_provider_arn)
    ClusterName             = tostring(var.cluster_name)
    ServiceAccountNamespace = tostring(var.service_account_namespace)
    ServiceAccountName      = tostring(var.service_account_name)
    UseManagedTag           = tostring(var.use_managed_tag)
    AutoScalingGroupPattern = tostring(var.auto_scaling_group_pattern)
    AutoScalingGroupNames   = join(",", var.auto_scaling_group_names)
    EventAccounts           = tostring(var.event_accounts)
    ReplayPrincipalArns     = join(",", var.replay_principal_arns)
    DrillSource             = tostring(var.drill_source)
    SenderArns              = join(",", var.sender_arns)
    CreateNotificationTopic = tostring(var.create_notification_topic)
    CreateObserverQueue     = tostring(var.create_observer_queue)
    QueueNamePrefix         = tostring(var.queue_name_prefix)
    EncryptionKey           = tostring(var.encryption_key)
    OldestMessageSeconds    = tostring(var.oldest_message_seconds)
    AlarmTopicArn           = tostring(var.alarm_topic_arn)
  }
}

output "queue_url" {
  description = "The setting queue_url; QUEUE_PROCESSOR_QUEUE_URL in the manifest."
  value       = aws_cloudformation_stack.this.outputs["QueueUrl"]
}

output "region" {
  description = "AWS_REGION in the manifest."
  value       = aws_cloudformation_stack.this.outputs["Region"]
}

output "operator_role_arn" {
  description = "The role of the pod."
  value       = try(aws_cloudformation_stack.this.outputs["OperatorRoleArn"], null)
}

output "service_account_annotation" {
  description = "The annotation of the ServiceAccount in the manifest."
  value       = try(aws_cloudformation_stack.this.outputs["ServiceAccountAnnotation"], null)
}

output "operator_policy_arn" {
  description = "The permissions of the program, to attach to your own identity."
  value       = aws_cloudformation_stack.this.outputs["OperatorPolicyArn"]
}

output "observer_queue_url" {
  description = "The setting queue_url of the observer."
  value       = try(aws_cloudformation_stack.this.outputs["ObserverQueueUrl"], null)
}

output "observer_role_arn" {
  description = "The role of the observer's pod."
  value       = try(aws_cloudformation_stack.this.outputs["ObserverRoleArn"], null)
}

output "observer_policy_arn" {
  description = "The permissions of the observer, to attach to your own identity."
  value       = try(aws_cloudformation_stack.this.outputs["ObserverPolicyArn"], null)
}

output "replay_role_arn" {
  description = "The role for users who read and replay messages."
  value       = try(aws_cloudformation_stack.this.outputs["ReplayRoleArn"], null)
}

output "notification_topic_arn" {
  description = "NotificationTopicArn of lifecycle-hooks.yaml."
  value       = try(aws_cloudformation_stack.this.outputs["NotificationTopicArn"], null)
}

output "notification_role_arn" {
  description = "NotificationRoleArn of lifecycle-hooks.yaml."
  value       = try(aws_cloudformation_stack.this.outputs["NotificationRoleArn"], null)
}

output "oldest_message_alarm_arn" {
  description = "StopAlarmArn of fis-experiment.yaml."
  value       = aws_cloudformation_stack.this.outputs["OldestMessageAlarmArn"]
}

output "queue_arn" {
  description = "The ARN of the queue."
  value       = aws_cloudformation_stack.this.outputs["QueueArn"]
}

output "dead_letter_queue_url" {
  description = "The queue for messages that could not be delivered or handled."
  value       = aws_cloudformation_stack.this.outputs["DeadLetterQueueUrl"]
}

output "dead_letter_queue_arn" {
  description = "The ARN of the dead-letter queue."
  value       = aws_cloudformation_stack.this.outputs["DeadLetterQueueArn"]
}

output "key_arn" {
  description = "The KMS key of the queues."
  value       = try(aws_cloudformation_stack.this.outputs["KeyArn"], null)
}
