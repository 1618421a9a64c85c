"""The soak test: storms with faults, on a real control plane, judged by their end state.

A campaign is a value: its name, its faults, and how often they are tried. Each trial is a storm of
a few nodes whose pods need some seconds to go, under a budget. The faults hit the operator, the API
server or AWS at random instants meanwhile. The judgement uses nothing that the operator says:

- a witness in the simulated AWS looks at the cluster whenever a message is about to be deleted or a
  lifecycle action completed, before it is: pods that are left on the node then make it too early;
- the audit log of the API server has every eviction and deletion of a pod;
- watches of the harness see every version of every pod and node;
- the queue keeps the life of every message.
"""
