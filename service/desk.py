"""Where briefs become orders: models are looked up, formats chosen, times given."""

from dataclasses import replace

from service.briefs import StylizeBrief, UpscaleBrief
from service.enlargement import Enlargement
from service.orders import Order, Terms
from service.painting import Painting
from service.served_models import ServedModels
from service.settings import Settings
from service.treatments import Treatment


class Desk:
    """Knows what is served at the moment."""

    def __init__(self, settings: Settings, models: ServedModels) -> None:
        self._settings = settings
        self._models = models

    def order(
        self, brief: StylizeBrief | UpscaleBrief, mask: bytes | None = None, default_timeout: float | None = None
    ) -> Order:
        """What is to be done, by which models; `mask` is a file, `default_timeout` is for clients that name none.

        Raises the ServiceError of whatever the brief asks for and is not there: UnknownModel, ModelUnavailable,
        NotAcceptable, InvalidRequest.
        """
        parameters = brief.parameters
        terms = Terms.asked(self._settings, brief.within, parameters.priority)
        if default_timeout is not None:
            terms = replace(terms, default_timeout=default_timeout)
        return Order(self._treatment(brief), terms, parameters.output(brief.accept), mask)

    def _treatment(self, brief: StylizeBrief | UpscaleBrief) -> Treatment:
        if isinstance(brief, StylizeBrief):
            return Painting.ordered(self._models, brief.style, brief.parameters.painting)
        return Enlargement.ordered(self._models, brief.scale, brief.parameters.enlargement)
