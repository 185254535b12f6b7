"""What Prometheus reads; names and buckets after vLLM's, whose dashboards fit."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
NEXT_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "drawplate_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self.prompt_tokens = Counter(
            "drawplate_prompt_tokens", "Tokens of prompts read", registry=self.registry
        )
        self.generated_tokens = Counter(
            "drawplate_generation_tokens", "Tokens generated", registry=self.registry
        )
        self.first_token = Histogram(
            "drawplate_time_to_first_token_seconds",
            "From a request's arrival to its first token, waiting included",
            buckets=FIRST_S,
            registry=self.registry,
        )
        self.next_token = Histogram(
            "drawplate_time_per_output_token_seconds",
            "Between two tokens of an answer",
            buckets=NEXT_S,
            registry=self.registry,
        )
        self.embedded = Histogram(
            "drawplate_e2e_request_latency_seconds",
            "From a request for embeddings to its vectors, waiting included",
            buckets=FIRST_S,
            registry=self.registry,
        )
        self.inside = Gauge(
            "drawplate_requests_inside", "Requests that wait or run", registry=self.registry
        )
