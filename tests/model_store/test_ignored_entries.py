from model_store.ignored_entries import MOST_NAMED, describe_ignored_entries


def test_message_names_what_is_ignored_and_how_networks_get_there() -> None:
    message = describe_ignored_entries(["RealESRGAN_x4plus.pth"])
    assert message.startswith("'RealESRGAN_x4plus.pth' is no model and ignored: a store holds <model>/<version>/ ")
    assert "`pastiche-train` publishes" in message
    assert "`pastiche-models` lists" in message


def test_many_names_are_counted() -> None:
    message = describe_ignored_entries([f"{number}.jpg" for number in range(MOST_NAMED + 7)])
    assert message.startswith("'0.jpg', '1.jpg', '2.jpg', '3.jpg', '4.jpg' and 7 more are no models and ignored: ")


def test_name_cannot_break_the_line() -> None:
    assert len(describe_ignored_entries(["a\nb"]).splitlines()) == 1
