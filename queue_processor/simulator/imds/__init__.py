"""Instance metadata (IMDS) of many nodes, on one port.

People test what handles interruptions by redirecting 169.254.169.254 on a node. That address is
also where the kubelet, the CNI and every SDK find credentials, so such a test breaks the node that
it is about. Here, each handler is pointed at this server instead, by the option that it has for
that. Every node has a path of its own, `/nodes/NAME/latest/…`; a request without it is about the
node that has the address of the caller.

`service` answers requests and knows neither sockets nor clocks. `fleet` knows the nodes and what is
announced to each. `http` is the server, with the control API, by which `imds send` announces
something. `schedule` announces what a file says, at the times that it says.

Nothing is kept for a request: the values of a node follow from its Node object or its name, and a
token proves itself. So a thousand nodes that are polled cost connections, and nothing else.
"""
