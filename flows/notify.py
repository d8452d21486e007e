"""Tell a web address when a deployed run fails or falls silent: ``python -m flows.notify URL`` sets up Prefect's automations.

What is sent names the flow, the run (recipe and workspace), its state and its page, and nothing of the run's data: no message
of an error and no pseudonym. Calling it again with another address changes the address.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.settings import get_current_settings

FAILED, SILENT = "lungpipe-failed", "lungpipe-silent"

_RUNS_OF_OURS: dict[str, Any] = {
    "match": {"prefect.resource.id": "prefect.flow-run.*"},
    "match_related": {"prefect.resource.id": "prefect.tag.lungpipe", "prefect.resource.role": "tag"},
}
#: Heartbeats that a run may miss.
_MISSED = 3
_SUBJECT = "lungpipe: {{ flow.name }} '{{ flow_run.name }}' {{ flow_run.state.name }}"
_BODY = "{{ flow.name }} '{{ flow_run.name }}' ended as {{ flow_run.state.name }}: {{ flow_run|ui_url }}"


def notify(
    url: Annotated[
        str, typer.Argument(help="Address that takes a JSON object with the key `text` (Slack, Mattermost, own).")
    ],
) -> None:
    """Tell an address when a run of a deployment with the tag `lungpipe` fails, crashes or falls silent.

    A run that sent no heartbeat for three times as long as it should, because its machine went down, is called crashed:
    else it would count as running, and its queue would wait for it for ever.

    Example: python -m flows.notify https://hooks.example.org/services/lung
    """
    words = {"text": "{{subject}}\n{{body}}"}
    block = CustomWebhookNotificationBlock(name=FAILED, url=url, json_data=words, headers=None, cookies=None)
    block_id: Any = block.save(FAILED, overwrite=True)
    ended = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
    beat_s = get_current_settings().flows.heartbeat_frequency or 180
    _write(
        Automation(
            name=FAILED,
            description="Tells when a run of lungpipe fails or crashes.",
            trigger=EventTrigger(
                **_RUNS_OF_OURS,
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[SendNotification(block_document_id=block_id, subject=_SUBJECT, body=_BODY)],
        )
    )
    _write(
        Automation(
            name=SILENT,
            description="Calls a run of lungpipe crashed that sends no heartbeat any more.",
            trigger=EventTrigger(
                **_RUNS_OF_OURS,
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *ended},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=_MISSED * beat_s),
            ),
            actions=[
                ChangeFlowRunState(
                    name="Crashed", state=StateType.CRASHED, message="It sent no heartbeat any more.", force=False
                )
            ],
        )
    )


def _write(wanted: Automation) -> None:
    """Make an automation, or change the one of its name."""
    try:
        found: Any = Automation.read(name=wanted.name)
    except ValueError:  # none of that name
        wanted.create()
    else:
        wanted.id = found.id
        wanted.update()


if __name__ == "__main__":
    typer.run(notify)
