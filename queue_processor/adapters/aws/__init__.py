"""SQS, Auto Scaling and EC2 through boto3."""
