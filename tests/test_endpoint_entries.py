import pytest
from pydantic import ValidationError

from lima.config.entries import EndpointAnnotator

ENTRY = {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m", "key_variable": "", "max_tokens": 9}


def test_an_entry_without_send_sends_the_four_standard_options():
    entry = EndpointAnnotator(**ENTRY)
    assert entry.send == ("max_tokens", "temperature", "top_p", "seed")
    assert entry.extra == {}


def test_send_may_be_empty_and_is_a_list_in_yaml():
    assert EndpointAnnotator(**ENTRY, send=[]).send == ()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"send": ["max_tokens", "max_completion_tokens"]}, "are the same limit"),
        ({"send": ["max_token"]}, "Input should be 'max_tokens'"),
        ({"extra": {"temperature": 1}}, "temperature cannot be set here"),
        ({"extra": {"messages": []}}, "messages cannot be set here"),
        ({"extra": {"stream": True}}, "stream cannot be set here"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(entry, says):
    with pytest.raises(ValidationError, match=says):
        EndpointAnnotator(**ENTRY, **entry)
