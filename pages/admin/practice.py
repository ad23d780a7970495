"""How to connect for real: what practice mode is, and how to leave it."""

from __future__ import annotations

import streamlit as st

from core.access.roles import Role
from core.vendors.csv_files import TAKES_EFFECT
from pages.parts import whom_to_ask
from pages.shell import gate, page_frame, resources

WHAT_IT_IS = """
With nothing connected, `make run` starts a **sandbox** on this machine that plays both Mixpanel and Apptimize, and
connects it. It answers as the real ones do, limits and errors included; its people are made up. Nothing you do with it
reaches Mixpanel or Apptimize, so it is the place to try things out and to see what happens when something goes wrong.
"""
MIXPANEL = """
1. In Mixpanel, open **Organization settings**, **Service accounts**, and create one with the project role **admin** or
   **owner**. Copy its username and its secret: the secret is shown once.
2. Note the **project id** and the region under **Project settings**, and the project's **ID merge** mode.
3. Open **Connections**, and at the practice project press **Change project** and enter them. With nothing connected,
   enter them under **Connect**.
"""
ENDPOINT = """
Apptimize documents **no public interface for writing groups**. Mixpanel's own integration uses one that is not
published. If Apptimize gave you an address that takes Mixpanel's cohort-sync messages, or if you run a service that
does:

1. Create a token on Apptimize's **Tokens** page: **New token**, a memorable name, **Generate**.
2. Open **Connections**, and at the practice destination press **Change address** and enter both. With nothing
   connected, enter them under **Connect**.
"""
RECEIVER = """
Other services take the cohort-sync messages of Mixpanel too, and know people by other ids. Open **Connections**, and
under **Other receivers** choose how yours is signed in to and which id it knows people by. An example message shows
what it would be sent; **Send a test** shows what it answers.
"""
CSV = f"""
Apptimize's Groups page takes a CSV file of user ids. This works with any account today:

1. Download the file on the **Groups** page here, or connect a **CSV folder**, to which every export writes.
2. In Apptimize, open **Groups**, create or open the group, and upload the file.
3. {TAKES_EFFECT}
"""

person = gate.require(Role.VIEWER)
bridge = resources.bridge()
connections = page_frame.open_page(
    bridge, person, page_frame.PRACTICE_TITLE, "What practice mode is, and how to leave it."
)

st.header("Practice mode", anchor=False)
st.markdown(WHAT_IT_IS)
sandbox = page_frame.find_sandbox(connections)
if sandbox:
    with st.container(horizontal=True):
        for label, path, icon in (
            ("Apptimize: Groups", "/apptimize/groups", "patient_list"),
            ("Apptimize: Tokens", "/apptimize/tokens", "key"),
            ("Other receivers", "/sandbox/receivers", "call_received"),
            ("Simulate failures", "/sandbox/faults", "bolt"),
            ("The sandbox", "/", "science"),
        ):
            st.link_button(label, f"{sandbox}{path}", key=f"practice_{icon}", icon=f":material/{icon}:")
else:
    st.info(
        "No practice connection at the moment. `python -m core sandbox` starts only the sandbox; its first page says "
        "what to enter.",
        icon=":material/science:",
    )
st.header("Mixpanel", anchor=False)
st.markdown(MIXPANEL)
st.header("Apptimize, with a file", anchor=False)
st.markdown(CSV)
st.header("Apptimize, with an endpoint", anchor=False)
st.markdown(ENDPOINT)
st.header("Another receiver", anchor=False)
st.markdown(RECEIVER)
whom_to_ask.show_way_to_connections(bridge, person)
