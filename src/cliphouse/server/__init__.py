"""The search service: a table on HTTP, for programs and for clip-retrieval's clients.

The names are in its modules: the command line reads the settings without the web framework.
"""
