"""A simulated Kubernetes API server with the controllers that a drain meets.

Build a world, then talk to its API server with or without sockets::

    cluster = SimulatedCluster(clock.Delays(exit_seconds=2))
    cluster.add_node("a", instance_id="i-0a")
    cluster.add_node("b", instance_id="i-0b")
    cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["a"])
    cluster.add_budget("web", match_labels={"app": "web"}, max_unavailable=1)

    server = api.SimulatedApiServer(cluster)
    answer = await server.handle(requests.ApiRequest("GET", "/api/v1/nodes"))

    shell = http.HttpServer(server)
    url = await shell.start()
    shell.write_kubeconfig(path)

``cluster.history`` tells what happened, ``server.faults`` orders misbehaviour, ``shell.pause()``
plays an outage. All delays follow the clock of the running loop, so that a loop with virtual
time runs a storm in no time; give the cluster ``clock.LoopClock(start)`` to stamp objects then.
"""
