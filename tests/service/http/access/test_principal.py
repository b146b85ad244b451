from service.http.access.api_key import LimitPolicy
from service.http.access.principal import Principal
from service.http.access.quota import Quota
from service.jobs.job import Owner


def test_jobs_belong_to_the_name_of_the_key_or_else_to_the_network() -> None:
    quota = Quota(LimitPolicy(unfinished_jobs=3))
    assert Principal("shop", "192.0.2.1", quota=quota).job_owner == Owner("shop", 3)
    assert Principal(network="192.0.2.1", quota=quota).job_owner == Owner("192.0.2.1", 3)
    assert Principal().job_owner == Owner()
