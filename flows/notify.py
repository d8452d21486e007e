"""Tell a web address when a deployed run fails: ``python -m flows.notify URL`` sets up Prefect's own automation for it.

What is sent names the flow, the run (recipe and workspace), its state and its page, and nothing of the run's data: no message
of an error and no pseudonym. Calling it again with another address changes the address.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture

NAME = "lungpipe-failed"

_SUBJECT = "lungpipe: {{ flow.name }} '{{ flow_run.name }}' {{ flow_run.state.name }}"
_BODY = "{{ flow.name }} '{{ flow_run.name }}' ended as {{ flow_run.state.name }}: {{ flow_run|ui_url }}"


def notify(
    url: Annotated[
        str, typer.Argument(help="Address that takes a JSON object with the key `text` (Slack, Mattermost, own).")
    ],
) -> None:
    """Tell an address when a run of a deployment with the tag `lungpipe` fails or crashes.

    Example: python -m flows.notify https://hooks.example.org/services/lung
    """
    words = {"text": "{{subject}}\n{{body}}"}
    block = CustomWebhookNotificationBlock(name=NAME, url=url, json_data=words, headers=None, cookies=None)
    block_id: Any = block.save(NAME, overwrite=True)
    wanted = Automation(
        name=NAME,
        description="Tells when a run of lungpipe fails or crashes.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": "prefect.tag.lungpipe", "prefect.resource.role": "tag"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block_id, subject=_SUBJECT, body=_BODY)],
    )
    try:
        found: Any = Automation.read(name=NAME)
    except ValueError:  # none of that name
        wanted.create()
    else:
        wanted.id = found.id
        wanted.update()


if __name__ == "__main__":
    typer.run(notify)
