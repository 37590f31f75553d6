"""Serving: operations over HTTP, as resources of JSON.

Why a router of our own: the kernel knows each operation's arguments, types, limits and permission
from its declaration, so a request needs one lookup, one decode and one call; what a framework would
do besides costs more than all of that. One core (`app.HttpApp`) answers; two thin faces bring it
requests: RSGI for granian in production, ASGI for tests and for being mounted elsewhere.

What must never happen here:

- an operation reached without its site, its permission check or its limits;
- an unbounded wait or buffer on account of one client, or one site's load refusing another's;
- a body that was cut short taken for a whole one;
- an answer to bad input that is not a problem document saying what is wrong and where, or one that
  says anything of our insides.
"""
