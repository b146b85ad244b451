import copy
import errno
import os
import pickle

import pytest

from service.errors import (
    CorruptImage,
    Draining,
    ImageTooLarge,
    OutOfResources,
    Overloaded,
    ServiceError,
    name_exhaustion,
)


def test_every_kind_is_distinct_and_explained() -> None:
    every = list(ServiceError.kinds())
    assert len({kind.kind for kind in every}) == len(every) > 15
    assert all(kind.__doc__ and kind.title for kind in every)
    assert {kind.status for kind in every} == {
        400,
        401,
        403,
        404,
        405,
        406,
        408,
        409,
        413,
        414,
        415,
        421,
        422,
        424,
        429,
        431,
        499,
        500,
        501,
        503,
        504,
        507,
    }


def test_members_cannot_hide_what_the_rfc_defines() -> None:
    with pytest.raises(TypeError):
        ServiceError("one", detail="other")  # type: ignore[misc]


def test_retry_after_is_a_member_where_it_is_given() -> None:
    assert Overloaded("full", retry_after=7).members == {"retry_after": 7}
    assert Overloaded("full").members == {}
    assert Draining().retry_after == 1


def test_copy_is_equal_but_for_the_traceback_and_the_detail() -> None:
    with pytest.raises(ImageTooLarge) as raised:
        raise ImageTooLarge("9 exceed 8", limit="max_pixels", actual=9, max_accepted=8)
    error = raised.value
    copied, other = error.copy(), error.copy("the mask: 9 exceed 8")
    assert error.__traceback__ is not None
    assert copied.__traceback__ is None
    assert (type(copied), copied.detail, copied.members) == (ImageTooLarge, error.detail, error.members)
    assert (str(other), other.members) == ("the mask: 9 exceed 8", error.members)
    assert Overloaded("full", retry_after=7).copy().retry_after == 7


@pytest.mark.parametrize("kind", [*ServiceError.kinds()])
def test_copied_and_pickled_as_it_is(kind: type[ServiceError]) -> None:
    """Between processes, as of Ray, and by whoever keeps a failure."""
    alone = "__init__" in vars(kind) and kind is not ServiceError
    error = kind() if alone else kind("no", retry_after=3, actual=9)  # type: ignore[call-arg]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is kind
            assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error", [MemoryError(), *map(system_error, (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC))]
)
def test_lack_of_resources_is_named_and_passes(error: Exception) -> None:
    hidden = RuntimeError("hidden")
    hidden.__cause__ = error
    with pytest.raises(OutOfResources, match="lacks resources") as named, name_exhaustion():
        raise hidden
    assert named.value.retry_after == OutOfResources.RETRY_SECONDS


@pytest.mark.parametrize("error", [system_error(errno.EIO), ValueError("other"), CorruptImage("broken")])
def test_other_failures_are_not_lack_of_resources(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, name_exhaustion():
        raise error
    assert raised.value is error
