"""AWS in one process: the queues of SQS, and moto with what it lacks for the rest.

    from queue_processor.domain import aws_events
    from queue_processor.domain.events import LifecycleTransition
    from queue_processor.simulator.aws import events, lifecycle, simulator

    with simulator.AwsSimulator() as aws:
        stack = aws.deploy()
        os.environ.update(aws.environment())        # any SDK now uses the simulator
        (instance_id,) = aws.launch(1)
        aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
        aws.queue_state(stack.queue_url)            # visible=1, in_flight=0, delayed=0
        aws.message_log(stack.queue_url)            # the life of every message

Lifecycle hooks hold instances back until the action is completed or expires:

    hook = lifecycle.SimulatedLifecycleHook("workers", "drain", LifecycleTransition.TERMINATING)
    aws.create_auto_scaling_group("workers", [instance_id], [hook])
    aws.terminate_in_group(instance_id)             # state Terminating:Wait, event on the queue
    aws.lifecycle_actions()                         # heartbeats, completed_at, result

What is simulated, what is not, and which contract test proves it: ../README.md.
"""
