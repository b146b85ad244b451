from client.outage import Outage


def test_outage_is_waited_out_until_patience_runs_out() -> None:
    said: list[str] = []
    outage = Outage(60, said.append)
    assert outage.pause(5, 100, 100, "gone") == 5
    assert outage.pause(5, 130, 130, "gone") == 5
    assert outage.pause(5, 159, 159, "gone") == 1
    assert outage.pause(5, 161, 161, "gone") is None
    outage.end()
    assert outage.pause(5, 161, 161, "gone again") == 5
    assert said == ["waiting up to 60 s for the service: gone", "waiting up to 60 s for the service: gone again"]


def test_request_that_was_sent_before_patience_ran_out_is_followed_by_a_last_one() -> None:
    outage = Outage(2)
    assert outage.pause(10, 100, 100, "gone") == 2
    assert outage.pause(10, 101, 109, "gone") == 0
    assert outage.pause(10, 109, 109, "gone") is None
