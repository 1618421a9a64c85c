"""What the demo and the tests run against: a cluster's API and AWS, in process."""
