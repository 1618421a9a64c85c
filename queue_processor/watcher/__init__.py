"""The watcher: it records on its own Node what instance metadata (IMDS) announces.

One small process runs on each node and polls instance metadata. When something is announced, it
writes an annotation on the Node object; the operator reads it there, drains the node and removes
it. `domain.notices` is the contract between the two.

- The watcher can be small because it decides nothing. It keeps nothing on disk and reads nothing
  from the API server. Instance metadata keeps a notice until the instance is gone, so a watcher
  that starts again records it again, and the operator recognises the event.
- It uses the standard library and `domain`, nothing else, and one thread. The same program on the
  operator's libraries needs three times the memory, on every node.
- An answer is 200 with a body that parses, or 404. Anything else, such as HTML, a truncated body,
  401 or silence, is no answer. It is logged once, it is never recorded, and it never ends the
  process: who cannot see an interruption has to keep looking.
- A Spot interruption, a rebalance recommendation or a termination stays recorded when instance
  metadata does not show it any more, since none of them is ever taken back. Scheduled events are:
  one that is over, or not listed any more, is recorded as cancelled.

`metadata_watcher.py` plays one node and does not wait, so that the demo and the tests play many
nodes in one process, in their own time. `loop.py` runs it in a process of its own.
"""
