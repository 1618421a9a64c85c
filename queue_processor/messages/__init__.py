"""The queue tools: `queue-processor messages`, one file for each command with its work.

A person who looks into a queue wants to know what the operator would do. So the tools parse with
the operator's parser and decide with its policy and its settings (`explanation`), and look at the
same cluster (`cluster`). They build what they need from the adapters, not from `bootstrap`: they
run on a laptop, and start no operator.

What the commands share: `queues` finds queues and peeks into them, `recordings` and `journal` keep
files, `rewrite` changes messages, `rate_limiter` sends at a rate until Ctrl-C, `options` and
`output` are the command line. `cli` registers the commands and reports their errors.
"""
