"""The search service: serves tables over HTTP to programs and to clients of clip-retrieval.

Import names from its modules. The command line reads the settings without the web framework.
"""
