"""Import what the dashboard and its pages import, in a process that dashboards are forked from."""

from __future__ import annotations

import gc

import authlib.integrations.starlette_client  # noqa: F401
import pandas  # noqa: F401
import pyarrow  # noqa: F401
import streamlit.starlette  # noqa: F401
import streamlit.web.bootstrap  # noqa: F401
import streamlit.web.cli  # noqa: F401
import streamlit.web.server.starlette  # noqa: F401
import uvicorn  # noqa: F401

gc.collect()
gc.freeze()
