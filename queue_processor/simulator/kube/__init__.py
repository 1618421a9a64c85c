"""A simulated Kubernetes API server with the controllers that a drain meets.

Build a cluster in a running loop, then talk to its API server with or without sockets::

    cluster = SimulatedCluster(clock.Delays(exit_seconds=2))
    cluster.add_node("a", instance_id="i-0a")
    cluster.add_node("b", instance_id="i-0b")
    cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["a"])
    cluster.add_budget("web", match_labels={"app": "web"}, max_unavailable=1)

    server = api.SimulatedApiServer(cluster)
    response = await server.handle(requests.ApiRequest("GET", "/api/v1/nodes"))

    shell = http.HttpServer(server)
    url = await shell.start()
    shell.write_kubeconfig(path)

``cluster.history`` is a record of what happened, ``server.faults`` injects faults, and
``shell.pause()`` begins an outage. All delays follow the clock of the running loop, so a loop
with virtual time runs a storm in no time; then give the cluster ``clock.LoopClock(start)`` to
stamp objects.

How it works: clients and controllers write to one ``store.Store``, which numbers and logs the
changes and shows each at once to its observers: the controllers, the history and the open watches.
A controller never writes while it observes; it schedules work on the loop, so that its writes come
later, as those of real controllers do. What is simulated and what is not is in the README of
``simulator``.
"""
