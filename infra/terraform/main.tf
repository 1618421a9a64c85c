# The stack of infra/cloudformation/queue-processor.yaml, for those who deploy with Terraform: the
# same template, as one resource. So there is one description of the queue, the rules and the roles.
terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

resource "aws_cloudformation_stack" "this" {
  name          = var.name
  template_body = file("${path.module}/../cloudformation/queue-processor.yaml")
  capabilities  = ["CAPABILITY_IAM"]
  parameters    = local.parameters
  tags          = var.tags
}
