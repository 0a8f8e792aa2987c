"""The pages: is anything wrong, since when, whose is it, and what was done about it.

Made on the server with every value escaped, without scripts; everything shown is read through operations, and every
thing shown is a link. A page costs the same whether a model is a week or ten years old.
"""

from undrift.hub.web.pages import Pages, page_routes

__all__ = ["Pages", "page_routes"]
