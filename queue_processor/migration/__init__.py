"""Convert settings of aws-node-termination-handler (NTH) into ours.

`reading` finds them in a file, `table.csv` states the conversion of each, `converters` translate
values, and `conversion` applies the table. The settings are those of NTH v1.25:
https://github.com/aws/aws-node-termination-handler/blob/main/pkg/config/config.go
"""
