import datetime as dt
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from queue_processor.domain import errors
from queue_processor.domain.messages import Attribute, QueueMessage
from queue_processor.messages import recordings

texts = st.text(st.characters(), max_size=40)
attributes = st.one_of(
    st.builds(Attribute, data_type=st.just("String"), value=texts),
    st.builds(Attribute, data_type=st.just("Number.int"), value=st.integers().map(str)),
    st.builds(Attribute, data_type=st.just("Binary"), value=st.binary(max_size=40)),
)
messages = st.builds(
    QueueMessage,
    message_id=texts,
    body=texts,
    system=st.dictionaries(texts, texts, max_size=3),
    attributes=st.dictionaries(texts, attributes, max_size=3),
)


@hypothesis.given(messages)
def test_a_message_that_is_written_and_read_is_the_same(message: QueueMessage) -> None:
    line = recordings.dump(message)

    assert recordings.parse(line) == message
    assert recordings.parse_single(line) == message
    assert line.isascii()
    assert len(line.splitlines()) == 1


def test_a_message_as_the_aws_cli_prints_it_is_read() -> None:
    printed = {
        "MessageId": "id-1",
        "ReceiptHandle": "AQEB",
        "MD5OfBody": "5d41402abc4b2a76b9719d911017c592",
        "Body": "hello",
        "Attributes": {"SentTimestamp": "1787832000123", "ApproximateReceiveCount": "3"},
        "MessageAttributes": {"k": {"BinaryValue": "AAE=", "DataType": "Binary"}},
    }

    message = recordings.parse(json.dumps(printed, indent=4))

    assert message.body == "hello"
    assert message.sent_at == dt.datetime(2026, 8, 27, 12, 0, 0, 123_000, tzinfo=dt.UTC)
    assert message.receive_count == 3
    assert message.attributes == {"k": Attribute(data_type="Binary", value=b"\x00\x01")}


@pytest.mark.parametrize("timestamp", ["", "soon", "-1", "9" * 40, "1787832000.5"])
def test_a_time_that_is_none_is_none(timestamp: str) -> None:
    message = QueueMessage(message_id="id", body="", system={"SentTimestamp": timestamp})

    assert message.sent_at is None


@pytest.mark.parametrize("count", ["", "many", "9" * 5000])
def test_a_receive_count_that_is_none_is_zero(count: str) -> None:
    message = QueueMessage(message_id="id", body="", system={"ApproximateReceiveCount": count})

    assert message.receive_count == 0


def test_the_size_counts_body_names_types_and_values() -> None:
    attributes = {
        "ab": Attribute(data_type="String", value="é"),
        "c": Attribute(data_type="Binary", value=b"xyz"),
    }
    message = QueueMessage(message_id="id", body="héllo", attributes=attributes)

    assert message.size == 6 + (2 + 6 + 2) + (1 + 6 + 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "MessageId is missing"),
        ('{"MessageId": "id"}', "Body is missing"),
        ('{"MessageId": "id", "Body": 1}', "Body is missing, or not a text"),
        ('{"MessageId": "id", "Body": "", "Attributes": []}', "Attributes is not an object"),
        ('{"MessageId": "id", "Body": "", "MessageAttributes": {"a": 1}}', "a is not an object"),
        (
            '{"MessageId": "id", "Body": "", "MessageAttributes": {"a": {"DataType": "S"}}}',
            "StringValue is missing",
        ),
        (
            '{"MessageId":"","Body":"","MessageAttributes":{"a":{"DataType":"","BinaryValue":"!"}}}',
            "'a' is not base64",
        ),
    ],
)
def test_what_is_no_recorded_message_is_reported(text: str, expected: str) -> None:
    with pytest.raises(errors.UsageError, match=expected):
        recordings.parse(text)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"Body": "x"}', "nonsense", '{"id": "1", "detail-type": "x"}', "[1]"]
)
def test_an_event_is_no_recording(text: str) -> None:
    assert recordings.parse_single(text) is None


def test_a_recording_of_several_messages_is_no_recording_of_one() -> None:
    line = recordings.dump(QueueMessage(message_id="id", body="x"))

    with pytest.raises(errors.UsageError, match="a recording of 2 messages"):
        recordings.parse_single(f"{line}\n{line}\n")
