"""The forms of failures: problem details, and at the paths of other APIs what their clients expect."""

from service.http.automatic1111.answers import render_webui_error
from service.http.open_inference.messages import render_inference_error
from service.http.openai.edit_answer import openai_error
from service.http.problems import Problems
from service.http.routes.automatic1111 import PATH as WEB_UI
from service.http.routes.edits import PATH as EDITS
from service.http.routes.open_inference import PATH as INFERENCE

PROBLEMS = Problems({EDITS: openai_error, INFERENCE: render_inference_error, WEB_UI: render_webui_error})
"""Those of the service, and of the relay before it."""
