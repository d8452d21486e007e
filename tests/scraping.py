"""Read what a run serves to Prometheus."""

import socket
import urllib.request
from contextlib import closing


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scrape(port):
    """Samples by name, and label values sorted by the labels' names."""
    from prometheus_client.parser import text_string_to_metric_families

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (s.name, *(v for _, v in sorted(s.labels.items()))): s.value for family in families for s in family.samples
        }
