import concurrent.futures
import json
import socket
import time
from typing import TYPE_CHECKING
from urllib import parse

import pytest
from botocore import exceptions

from queue_processor.simulator.aws import records, simulator

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

    from tests.simulator.aws.conftest import Queue


def code_of(failure: pytest.ExceptionInfo[exceptions.ClientError]) -> str:
    return failure.value.response["Error"]["Code"]


class TestReceive:
    def test_a_message_wakes_a_waiting_receive_at_once(self, queue: "Queue") -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(queue.receive, WaitTimeSeconds=20)
            time.sleep(0.2)
            queue.send("hello")
            sent_at = time.monotonic()
            waiting.result()

        assert time.monotonic() - sent_at < 10, "it waited for the end of the long poll"

    def test_a_message_whose_visibility_ends_wakes_a_waiting_receive(self, queue: "Queue") -> None:
        queue.send("hello")
        queue.receive_one(VisibilityTimeout=1)

        began_at = time.monotonic()
        queue.receive_one(WaitTimeSeconds=20)

        assert time.monotonic() - began_at < 10, "it waited for the end of the long poll"

    def test_a_wait_that_is_over_returns_nothing(self, queue: "Queue") -> None:
        assert queue.receive(WaitTimeSeconds=1) == []

    def test_many_receivers_at_a_time_get_every_message_once(self, queue: "Queue") -> None:
        sent = {queue.send(f"message {number}") for number in range(60)}
        got: list[str] = []

        def receive_and_delete() -> None:
            while messages := queue.receive(MaxNumberOfMessages=3):
                for message in messages:
                    got.append(message["MessageId"])
                    queue.delete(message["ReceiptHandle"])

        with concurrent.futures.ThreadPoolExecutor() as pool:
            for receiver in [pool.submit(receive_and_delete) for _ in range(8)]:
                receiver.result()

        assert sorted(got) == sorted(sent)

    def test_a_receive_from_a_long_backlog_is_quick(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        for number in range(2_000):
            aws.send_raw(f"message {number}", queue_url=queue.url)

        began_at = time.monotonic()
        for _ in range(10):
            queue.receive(MaxNumberOfMessages=10)

        assert time.monotonic() - began_at < 10

    def test_a_long_poll_whose_client_was_killed_takes_no_message(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        abandon_long_poll(aws.endpoint_url, queue.url)

        queue.send("hello")
        time.sleep(0.1)

        assert aws.queue_state(queue.url) == records.SimulatedQueueState(
            visible=1, in_flight=0, delayed=0
        )

    def test_the_system_attributes_tell_of_sending_and_receiving(self, queue: "Queue") -> None:
        before = time.time() * 1000 - 1
        queue.send("hello")
        queue.receive_one(VisibilityTimeout=0)
        first = time.time() * 1000

        attributes = queue.receive_one(MessageSystemAttributeNames=["All"])["Attributes"]

        assert attributes["ApproximateReceiveCount"] == "2"
        assert before <= float(attributes["SentTimestamp"]) <= first
        assert before <= float(attributes["ApproximateFirstReceiveTimestamp"]) <= first

    def test_only_the_attributes_that_were_asked_for_come(self, queue: "Queue") -> None:
        attributes = {
            name: {"DataType": "String", "StringValue": "x"} for name in ("reason", "trace.id")
        }
        queue.send("hello", MessageAttributes=attributes)

        plain = queue.receive_one(VisibilityTimeout=0)
        by_prefix = queue.receive_one(VisibilityTimeout=0, MessageAttributeNames=["trace.*"])
        whole = queue.receive_one(VisibilityTimeout=0, MessageAttributeNames=["All"])

        assert "MessageAttributes" not in plain
        assert "Attributes" not in plain
        assert set(by_prefix["MessageAttributes"]) == {"trace.id"}
        assert set(whole["MessageAttributes"]) == {"reason", "trace.id"}

    def test_a_delayed_message_comes_later(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send("hello", DelaySeconds=1)

        assert aws.queue_state(queue.url) == records.SimulatedQueueState(
            visible=0, in_flight=0, delayed=1
        )
        assert queue.receive() == []
        assert queue.receive_one(WaitTimeSeconds=5)["Body"] == "hello"

    def test_a_queue_that_is_missing_does_not_exist(self, queue: "Queue") -> None:
        with pytest.raises(queue.client.exceptions.QueueDoesNotExist) as failure:
            queue.client.receive_message(QueueUrl=f"{queue.url}-missing")

        assert code_of(failure) == "AWS.SimpleQueueService.NonExistentQueue"

    def test_deleting_the_queue_ends_a_wait(self, queue: "Queue") -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(queue.receive, WaitTimeSeconds=20)
            time.sleep(0.2)
            queue.client.delete_queue(QueueUrl=queue.url)

            with pytest.raises(queue.client.exceptions.QueueDoesNotExist):
                waiting.result(timeout=15)


class TestSend:
    def test_each_entry_of_a_batch_succeeds_or_fails_on_its_own(
        self, aws: simulator.AwsSimulator, sqs: "SQSClient"
    ) -> None:
        small = sqs.create_queue(QueueName="small", Attributes={"MaximumMessageSize": "1024"})
        url = small["QueueUrl"]

        answer = sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": "large", "MessageBody": "x" * 1025},
                {"Id": "small", "MessageBody": "x"},
            ],
        )

        assert [entry["Id"] for entry in answer["Successful"]] == ["small"]
        assert [(entry["Id"], entry["SenderFault"]) for entry in answer["Failed"]] == [
            ("large", True)
        ]
        assert [message.body for message in aws.contents(url)] == ["x"]

    def test_a_batch_is_no_larger_than_one_message(self, queue: "Queue") -> None:
        with pytest.raises(exceptions.ClientError) as failure:
            queue.client.send_message_batch(
                QueueUrl=queue.url,
                Entries=[{"Id": str(number), "MessageBody": "x" * 600_000} for number in range(2)],
            )

        assert code_of(failure) == "AWS.SimpleQueueService.BatchRequestTooLong"


class TestDelete:
    def test_the_newest_receipt_handle_deletes(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send("hello")
        queue.receive_one(VisibilityTimeout=0)

        queue.delete(queue.receive_one()["ReceiptHandle"])

        assert aws.queue_state(queue.url).total == 0

    def test_an_older_receipt_handle_succeeds_and_deletes_nothing(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send("hello")
        old = queue.receive_one(VisibilityTimeout=0)["ReceiptHandle"]
        queue.receive_one()

        assert queue.delete(old) == 200
        assert aws.queue_state(queue.url).in_flight == 1

    def test_deleting_twice_succeeds(self, queue: "Queue") -> None:
        queue.send("hello")
        handle = queue.receive_one()["ReceiptHandle"]
        queue.delete(handle)

        assert queue.delete(handle) == 200

    def test_a_message_that_is_visible_again_can_still_be_deleted(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send("hello")

        queue.delete(queue.receive_one(VisibilityTimeout=0)["ReceiptHandle"])

        assert aws.queue_state(queue.url).total == 0

    def test_an_unknown_receipt_handle_is_invalid(self, queue: "Queue") -> None:
        with pytest.raises(queue.client.exceptions.ReceiptHandleIsInvalid):
            queue.delete("made up")

    def test_each_entry_of_a_batch_succeeds_or_fails_on_its_own(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send("hello")
        handle = queue.receive_one()["ReceiptHandle"]

        answer = queue.client.delete_message_batch(
            QueueUrl=queue.url,
            Entries=[
                {"Id": "known", "ReceiptHandle": handle},
                {"Id": "unknown", "ReceiptHandle": "made up"},
            ],
        )

        assert [entry["Id"] for entry in answer["Successful"]] == ["known"]
        assert [entry["Id"] for entry in answer["Failed"]] == ["unknown"]
        assert aws.queue_state(queue.url).total == 0


class TestChangeVisibility:
    def test_zero_makes_a_message_visible_at_once(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send("hello")

        queue.hide(queue.receive_one()["ReceiptHandle"], 0)

        assert aws.queue_state(queue.url).visible == 1

    @pytest.mark.parametrize("seconds", [43_201, -1])
    def test_a_timeout_out_of_range_is_an_invalid_value(self, queue: "Queue", seconds: int) -> None:
        queue.send("hello")
        handle = queue.receive_one()["ReceiptHandle"]

        with pytest.raises(exceptions.ClientError) as failure:
            queue.hide(handle, seconds)

        assert code_of(failure) == "InvalidParameterValue"

    def test_an_unknown_receipt_handle_is_invalid(self, queue: "Queue") -> None:
        with pytest.raises(queue.client.exceptions.ReceiptHandleIsInvalid):
            queue.hide("made up", 30)

    @pytest.mark.parametrize("ending", ["expired", "deleted", "overtaken"])
    def test_a_receipt_handle_that_no_longer_holds_the_message_is_refused(
        self, queue: "Queue", ending: str
    ) -> None:
        queue.send("hello")
        seconds = 30 if ending == "deleted" else 0
        handle = queue.receive_one(VisibilityTimeout=seconds)["ReceiptHandle"]
        if ending == "deleted":
            queue.delete(handle)
        elif ending == "overtaken":
            queue.receive_one()

        with pytest.raises(exceptions.ClientError, match="not available for vis") as failure:
            queue.hide(handle, 30)

        assert code_of(failure) == "InvalidParameterValue"

    def test_each_entry_of_a_batch_succeeds_or_fails_on_its_own(self, queue: "Queue") -> None:
        queue.send("hello")
        handle = queue.receive_one(VisibilityTimeout=60)["ReceiptHandle"]
        entries = {
            "good": (handle, 30),
            "unknown": ("made up", 30),
            "long": (handle, 43_201),
        }

        answer = queue.client.change_message_visibility_batch(
            QueueUrl=queue.url,
            Entries=[
                {"Id": name, "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                for name, (receipt, seconds) in entries.items()
            ],
        )

        assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
        assert {entry["Id"]: entry["Code"] for entry in answer["Failed"]} == {
            "unknown": "ReceiptHandleIsInvalid",
            "long": "InvalidParameterValue",
        }


class TestRedrive:
    def test_a_message_that_was_received_too_often_is_a_dead_letter(
        self, aws: simulator.AwsSimulator, sqs: "SQSClient", queue: "Queue"
    ) -> None:
        policy = {"deadLetterTargetArn": queue.arn, "maxReceiveCount": 2}
        name = "source"
        url = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})[
            "QueueUrl"
        ]
        sqs.send_message(QueueUrl=url, MessageBody="poison")

        received = [
            len(sqs.receive_message(QueueUrl=url, VisibilityTimeout=0).get("Messages", []))
            for _ in range(3)
        ]

        assert received == [1, 1, 0]
        (letter,) = aws.dead_letters(url)
        assert (letter.body, letter.receive_count) == ("poison", 2)
        assert aws.message_log(url)[0].ending is records.MessageEnding.DEAD_LETTERED
        assert queue.receive_one()["Body"] == "poison"


class TestWhatIsTold:
    def test_the_log_tells_the_life_of_a_message(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        identifier = queue.send(json.dumps({"id": "event-1"}))
        queue.receive_one(VisibilityTimeout=0)
        queue.delete(queue.receive_one()["ReceiptHandle"])

        (record,) = aws.message_log(queue.url)

        assert (record.message_id, record.event_id) == (identifier, "event-1")
        first, second = record.received_at
        assert record.deleted_at is not None
        assert record.sent_at <= first <= second <= record.deleted_at

    @pytest.mark.parametrize("body", ["not JSON", "[]", '{"id": 3}', "{}"])
    def test_a_body_without_an_event_id_has_none(
        self, aws: simulator.AwsSimulator, queue: "Queue", body: str
    ) -> None:
        aws.send_raw(body, queue_url=queue.url)

        assert aws.message_log(queue.url)[0].event_id is None

    def test_looking_into_a_queue_receives_nothing(
        self, aws: simulator.AwsSimulator, queue: "Queue"
    ) -> None:
        queue.send(
            "hello", MessageAttributes={"reason": {"DataType": "String", "StringValue": "why"}}
        )

        (message,) = aws.contents(queue.url)

        assert (message.body, message.attributes) == ("hello", {"reason": "why"})
        assert message.receive_count == 0

    def test_the_attributes_of_the_queue_count_its_messages(self, queue: "Queue") -> None:
        for _ in range(3):
            queue.send("hello")
        queue.receive(MaxNumberOfMessages=2)

        attributes = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])

        assert attributes["Attributes"]["ApproximateNumberOfMessages"] == "1"
        assert attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "2"

    def test_a_purge_empties_the_queue(self, aws: simulator.AwsSimulator, queue: "Queue") -> None:
        queue.send("hello")

        queue.client.purge_queue(QueueUrl=queue.url)

        assert aws.queue_state(queue.url).total == 0

    def test_fifo_queues_are_refused(self, sqs: "SQSClient") -> None:
        with pytest.raises(exceptions.ClientError, match="standard queues only"):
            sqs.create_queue(QueueName="ordered.fifo", Attributes={"FifoQueue": "true"})


def abandon_long_poll(endpoint_url: str, queue_url: str) -> None:
    """Begin a long poll and go away, as a process does that is killed."""
    address = parse.urlsplit(endpoint_url)
    assert address.hostname
    body = json.dumps({"QueueUrl": queue_url, "WaitTimeSeconds": 20})
    request = (
        "POST / HTTP/1.1",
        f"Host: {address.netloc}",
        "Authorization: AWS4-HMAC-SHA256 Credential=simulator/20260101/us-east-1/sqs/aws4_request",
        "X-Amz-Target: AmazonSQS.ReceiveMessage",
        "Content-Type: application/x-amz-json-1.0",
        f"Content-Length: {len(body)}",
        "",
        body,
    )
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.sendall("\r\n".join(request).encode())
        time.sleep(0.2)
