"""The lifecycles of one library, step by step: here, and only here, facts and bytes are brought together.

Each step finds what an earlier run finished. Prefect's tasks call these steps; they know nothing of Prefect.
"""
