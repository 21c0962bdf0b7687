#!/usr/bin/env python3
r"""Writes what LiteLLM charges for the models of our price table: tests/fixtures/litellm-costs.tsv.

Run on request, never by the tests, which read what was written:

    python3 -m venv target/litellm
    target/litellm/bin/pip install litellm==1.109.1
    python3 -m venv target/litellm-openrouter
    target/litellm-openrouter/bin/pip install litellm==1.105.0
    OPENROUTER_PYTHON=target/litellm-openrouter/bin/python \
        target/litellm/bin/python tests/peers/litellm_costs.py

A line is a model, the cost of each call of CALLS in picodollars as `completion_cost` has it, or `-`
where LiteLLM does not price it, all parted by tabs. The clock of LiteLLM stands at a Tuesday, 09:00
UTC, an ordinary hour; in the last column at a Saturday, an off-peak one. OpenRouter's models are not in
the newer release; the 1.105.0 that our rows of them come from runs in a second process.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402
from litellm.litellm_core_utils.llm_cost_calc import utils as calculation  # noqa: E402
from litellm.types.utils import (  # noqa: E402
    CacheCreationTokenDetails,
    CompletionTokensDetailsWrapper,
    ModelResponse,
    PromptTokensDetailsWrapper,
    Usage,
)

# Input, output, of the input from a cache, of the input into a cache, of these for one hour, of the
# output reasoning. The same list stands in the test that reads the file.
CALLS = [
    (1_000, 500, 0, 0, 0, 0),
    (1_000, 500, 600, 0, 0, 300),
    (3_000, 10, 500, 1_000, 0, 0),
    (3_000, 10, 500, 1_000, 400, 0),
    (128_000, 10, 0, 0, 0, 0),
    (200_000, 10, 0, 0, 0, 0),
    (300_000, 1_000, 100_000, 0, 0, 0),
    (300_000, 1_000, 100_000, 50_000, 0, 0),
    (150_000, 10, 10_000, 120_000, 60_000, 0),
]

# The call that is priced once more at a Saturday, 12:00 UTC, which is off-peak for those who have such
# hours, as the last column.
OFF_PEAK = CALLS[2]

SATURDAY = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.timezone.utc)
TUESDAY = datetime.datetime(2026, 11, 24, 9, 0, tzinfo=datetime.timezone.utc)


def cost(model, provider, call):
    """Picodollars, or None."""
    tokens, output, cached, written, hour, reasoning = call
    details = PromptTokensDetailsWrapper(cached_tokens=cached, cache_creation_tokens=written)
    if hour:
        details.cache_creation_token_details = CacheCreationTokenDetails(
            ephemeral_5m_input_tokens=written - hour, ephemeral_1h_input_tokens=hour
        )
    usage = Usage(
        prompt_tokens=tokens,
        completion_tokens=output,
        total_tokens=tokens + output,
        prompt_tokens_details=details,
        completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=reasoning),
        cache_creation_input_tokens=written,
        cache_read_input_tokens=cached,
    )
    response = ModelResponse(model=model, usage=usage)
    try:
        dollars = litellm.completion_cost(
            completion_response=response, model=model, custom_llm_provider=provider
        )
    except Exception as error:  # noqa: BLE001: whatever it is, the model has no price there
        print(f"{model}: {error}", file=sys.stderr)
        return None
    return round(dollars * 1e12)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    models = json.loads((root / "fixtures/model-prices.json").read_text())["models"]
    only_openrouter = "--openrouter" in sys.argv
    lines = []
    for model in sorted(models):
        provider, name = model.split("/", 1)
        if (provider == "openrouter") != only_openrouter:
            continue
        known = model if model in litellm.model_cost else name
        provider = litellm.model_cost.get(known, {}).get("litellm_provider", provider)
        calculation.current_billing_time = lambda: TUESDAY
        costs = [cost(known, provider, call) for call in CALLS]
        calculation.current_billing_time = lambda: SATURDAY
        costs.append(cost(known, provider, OFF_PEAK))
        lines.append("\t".join([model, *("-" if c is None else str(c) for c in costs)]))
    if only_openrouter:
        print("\n".join(lines))
        return
    more = os.environ.get("OPENROUTER_PYTHON")
    if more:
        output = subprocess.run(
            [more, __file__, "--openrouter"], check=True, capture_output=True, text=True
        )
        lines += output.stdout.splitlines()
    target = root / "fixtures/litellm-costs.tsv"
    target.write_text("\n".join(sorted(lines)) + "\n")
    print(f"{len(lines)} models in {target}")


main()
