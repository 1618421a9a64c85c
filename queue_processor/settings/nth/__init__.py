"""Settings of aws-node-termination-handler (NTH), Queue Processor mode, turned into ours.

`reading` finds them in a file, `draining`, `telling` and `chart` say what becomes of each,
`conversion` does it, and `writing` prints the result. The settings are those of NTH v1.25:
https://github.com/aws/aws-node-termination-handler/blob/main/pkg/config/config.go
"""
