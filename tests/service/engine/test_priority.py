from service.engine.priority import Priority, SchedulingPolicy


def test_only_bulk_work_is_delayed() -> None:
    policy = SchedulingPolicy(bulk_delay=7.0)
    assert (policy.delay(Priority.INTERACTIVE), policy.delay(Priority.BULK)) == (0.0, 7.0)
