"""A web page that shows a training while it runs."""
