"""The official client as its users have it, in an environment of its own: address and key changed.

Asks for one of everything and writes what it was told as one line of JSON.

    OPENAI_BASE_URL=… OPENAI_API_KEY=… OPENAI_ORG_ID=… python official.py
"""

import json
import sys
from typing import Any

import openai


def main() -> None:
    """Ask, and tell."""
    # Of another version than the one that types are checked by.
    client: Any = openai.OpenAI(max_retries=0, default_headers={"X-Exchequer-Feature": "summary"})
    messages = [{"role": "user", "content": "hello tokens=5"}]
    told: dict[str, Any] = {"version": openai.__version__}
    whole = client.chat.completions.create(model="small", messages=messages)
    told["said"] = whole.choices[0].message.content
    told["tokens"] = whole.usage.completion_tokens
    told["credits"] = whole.usage.model_extra["credits_used"]
    with client.chat.completions.create(model="small", messages=messages, stream=True) as stream:
        pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    told["streamed"] = "".join(piece or "" for piece in pieces)
    tool = {"type": "function", "function": {"name": "say", "parameters": {"type": "object"}}}
    called = client.chat.completions.create(model="small", messages=messages, tools=[tool])
    told["called"] = called.choices[0].message.tool_calls[0].function.name
    vectors = client.embeddings.create(model="small", input=["a", "b"])
    told["vectors"] = len(vectors.data)
    text = client.completions.create(model="small", prompt="once tokens=2", max_tokens=5)
    told["text"] = text.choices[0].text
    told["models"] = [model.id for model in client.models.list()]
    raw = client.chat.completions.with_raw_response.create(model="small", messages=messages)
    told["call"] = raw.headers["x-exchequer-call"]
    told["errors"] = {}
    wrong: dict[str, dict[str, Any]] = {
        "model": {"model": "third", "messages": messages},
        "value": {"model": "small", "messages": messages, "max_tokens": 0},
        "credits": {"model": "small", "messages": messages, "max_tokens": 5_000, "n": 50},
    }
    for name, asked in wrong.items():
        try:
            client.chat.completions.create(**asked)
        except openai.APIStatusError as error:
            told["errors"][name] = [type(error).__name__, error.status_code, error.code]
    try:
        client.with_options(api_key="exq_p_unknown").models.list()
    except openai.AuthenticationError as error:
        told["errors"]["key"] = [type(error).__name__, error.status_code, error.code]
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
