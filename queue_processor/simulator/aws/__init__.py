"""AWS in process: moto over HTTP, with what it lacks, and the queue of our own template.

    from queue_processor.simulator.aws import events, simulator

    with simulator.AwsSimulator() as aws:
        stack = aws.deploy()
        os.environ.update(aws.environment())        # any SDK now talks to the simulator
        (instance_id,) = aws.launch(1)
        aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
        aws.queue_state(stack.queue_url)            # QueueState(visible=1, in_flight=0, delayed=0)
        aws.message_log(stack.queue_url)            # what became of every message

Lifecycle hooks hold instances up, until somebody completes the action or it expires:

    hook = lifecycle.LifecycleHook("workers", "drain", lifecycle.Transition.TERMINATING)
    aws.create_auto_scaling_group("workers", [instance_id], [hook])
    aws.terminate_in_group(instance_id)             # state Terminating:Wait, event on the queue
    aws.lifecycle_actions()                         # heartbeats, completed_at, result

It answers as strictly as AWS does where the program depends on it: old receipt handles, the
12 hours of visibility, ended lifecycle actions. FIFO queues are missing.
"""
