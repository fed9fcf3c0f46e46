"""Every error, worded once: the docstring of its class is its message.

Two families. `Refused`: what we were given is wrong, trying again gives the same answer. `Unavailable`: something
could not be reached or held, trying again may help. A message says what happened, what was expected and found, what
state things are in now, and what to do. A test holds every `raise` to the fields that the class's sentence names.

An error that many callers meet (`OfAnyLayer`: the network, names, files) cannot know what state things are in. The step that
began the work adds that with `outcome`.
"""

# ruff: noqa: F403 - this module is the one face of the classes below
from __future__ import annotations

from modelshelf.errors.catalog import *
from modelshelf.errors.content import *
from modelshelf.errors.network import *
from modelshelf.errors.serving import *
from modelshelf.errors.store import *
from modelshelf.errors.values import *
from modelshelf.failures import *
